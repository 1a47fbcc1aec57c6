"""What the pages in docs/ show runs, what they name exists, and they make a site."""

import ast
import importlib
import importlib.util
import os
import re
import subprocess
import sys

import pytest
import torch
import yaml

import modprompt
from docs import made_pages
from modprompt.cli import train
from modprompt.methods.table import METHODS, PLUG_INS
from tests.conftest import ROOT
from tests.modprompt.test_boundaries import FLOORS
from tests.registered import forget
from tests.test_train import losses
from tests.warm import run_python
from tools.release import headings

DOCS, PACKAGE = ROOT / "docs", ROOT / "modprompt"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
CODE = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "own_trainer.md").read_text(), flags=re.DOTALL)
EXAMPLE = CODE[0]
RESIDUAL = next(text for text in CODE if "LayerChange" in text)


@pytest.fixture(scope="module")
def growing(tmp_path_factory):
    folder = tmp_path_factory.mktemp("example")
    (folder / "growing_example.py").write_text(EXAMPLE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        importlib.import_module("growing_example")
    yield
    forget("Growing", "growing_example")


@pytest.mark.usefixtures("growing")
def test_example_is_a_whole_method_in_under_80_lines(command, tmp_path, capsys):
    assert len(EXAMPLE.splitlines()) < 80
    assert train.main(command("Growing", "TRAINER.GROWING.PROMPT_DEPTH", 3, "OPTIM.MAX_EPOCH", 3)) == 0
    found = losses(capsys.readouterr().out)
    assert len(found) == 15
    saved = torch.load(tmp_path / "out" / "prompt_learner" / "model.pth.tar-3", weights_only=True)["state_dict"]
    gates = saved["prompt_learner.gates"]
    assert torch.all(gates[:3] != 0)  # they were trained
    assert gates[3] == 0  # no token there
    deep = [f"image_encoder.transformer.resblocks.{layer}.VPT_shallow" for layer in (1, 2)]
    assert [key for key in saved if key.startswith("image_encoder.")] == ["image_encoder.VPT", *deep]


@pytest.fixture
def scales(tmp_path, monkeypatch):
    (tmp_path / "scales_example.py").write_text(RESIDUAL)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("scales_example")
    forget("Scales", "scales_example")


def test_residual_is_a_whole_method_in_under_60_lines(scales, command, tmp_path, capsys):
    assert len(RESIDUAL.splitlines()) < 60
    assert train.main(command("Scales", "OPTIM.WARMUP_EPOCH", 0)) == 0
    out = capsys.readouterr().out
    assert "vision: 0.1 times the learning rate, weight decay 0" in out
    assert len(losses(out)) == 10
    saved = torch.load(tmp_path / "out" / "prompt_learner" / "model.pth.tar-2", weights_only=True)["state_dict"]
    assert all(torch.all(one != 0) for one in saved.values())


@pytest.mark.usefixtures("growing")
def test_examples_depth_is_checked(command, capsys):
    assert train.main(command("Growing", "TRAINER.GROWING.PROMPT_DEPTH", 0)) == 2
    assert "error: TRAINER.GROWING.PROMPT_DEPTH" in capsys.readouterr().err


def test_example_works_in_python_alone(tmp_path):
    (tmp_path / "growing.py").write_text(EXAMPLE)
    code = (
        "import sys, torch, modprompt, growing\n"
        "clip_model, _ = modprompt.load_clip('glyph-clip', device='cpu')\n"
        "model = growing.Growing(prompt_depth=3).on(clip_model, ['zero', 'one']).eval()\n"
        "model.save('growing.pt')\n"
        "again, images = modprompt.load('growing.pt', clip_model), torch.rand(1, 3, 32, 32)\n"
        "assert torch.equal(again(images), model(images))\n"
        "assert 'dassl' not in sys.modules\n"
    )
    done = run_python("-c", code, folder=tmp_path, environment={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def prose(text):
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(page):
    """The anchors of a page's headings, as sites make them."""
    heads = re.findall(r"^#+ (.+)$", prose(page.read_text()), flags=re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", head).strip().lower()) for head in heads}


def dead_links(page):
    """Relative links of a page that lead to no file or to no heading."""
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            yield link


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    assert list(dead_links(page)) == []


def test_dead_links_are_found(tmp_path):
    (tmp_path / "other.md").write_text("# A heading, of two words\n")
    page = tmp_path / "page.md"
    page.write_text(
        "# Here\n[a](other.md#a-heading-of-two-words) [b](#here) [c](other.md#no) [d](no.md) [e](https://a.b)\n"
    )
    assert list(dead_links(page)) == ["other.md#no", "no.md"]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_that_a_page_names_exist(page):
    folders = "modprompt|tests"
    if page.name != "hosts.md":  # which names folders of other codebases
        folders += "|scripts|configs|datasets|trainers|benchmarks|lpclip|tools|experiments"
    named = re.findall(rf"`((?:{folders})/[\w./-]*)", prose(page.read_text()))
    assert [path for path in named if not (ROOT / path).exists()] == []


def nav(entries):
    for entry in entries:
        for page in entry.values() if isinstance(entry, dict) else [entry]:
            yield from nav(page) if isinstance(page, list) else [page]


def test_every_page_is_in_the_navigation():
    entries = list(nav(made_pages.on_config(yaml.safe_load((ROOT / "mkdocs.yml").read_text()))["nav"]))
    assert sorted(entries) == sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))


def test_what_a_page_has_made_is_known_and_is_made():
    asked = re.findall(r"^<!-- made: (\w+) -->$", "".join(page.read_text() for page in PAGES), flags=re.MULTILINE)
    assert sorted(asked) == sorted(made_pages.MADE)
    interface = made_pages.interface()
    assert all(f"\nmodprompt.{name}(" in interface for name in modprompt.__all__ if name != "__version__")
    assert "    n_add_op: int = 2,\n" in interface
    assert "| `MPL` | 0.0035 | 5 | 4 | 1 | 1e-5 | `vit_b4_c1_add2_rm1` |" in made_pages.settings()
    methods = made_pages.methods()
    assert all(f"\n| `{row.name}` | " in methods for row in METHODS)
    assert all(f"(methods/{page.name})" in methods for page in (DOCS / "methods").glob("*.md") if page.stem != "behind")
    assert "--root DATA" in made_pages.help_of("doctor")


def test_every_room_has_its_page_of_reference():
    lines = [line for page in (DOCS / "api").glob("*.md") for line in page.read_text().splitlines()]
    shown = {line[len("::: modprompt.") :] for line in lines if line.startswith("::: ")}
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    ground = {path.stem for path in PACKAGE.glob("*.py")} & set(FLOORS[0])
    assert shown == rooms - {"compat"} | {"compat.find", "compat.mends"} | ground  # not the small Dassl


def test_floors_of_the_architecture_are_those_that_are_tested():
    page = (DOCS / "architecture.md").read_text()
    rows = re.findall(r"^\| (\d+) \| ((?:`\w+` ?)+)\|", page, flags=re.MULTILINE)
    shown = {int(floor): set(re.findall(r"\w+", rooms)) for floor, rooms in rows}
    assert list(shown) == list(reversed(range(len(FLOORS))))
    assert [shown[floor] - {"fields"} for floor in range(len(FLOORS))] == [set(rooms) - {"fields"} for rooms in FLOORS]


def texts_of(path):
    """All texts in a module, those with values in them with a 0 byte for each."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_messages_in_troubleshooting_are_those_of_the_code():
    page = (DOCS / "troubleshooting.md").read_text()
    blocks = re.findall(r"^```text\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    messages = [line for block in blocks for line in block.splitlines()]
    texts = [text for path in PACKAGE.rglob("*.py") for text in texts_of(path)]

    def is_said(message):
        """Whether a text has the message's parts in their order, at its beginning or behind a value."""
        pattern = re.compile(r"(^|\0|: )" + ".*".join(re.escape(part.strip()) for part in message.split("...")))
        return any(pattern.search(text) for text in texts)

    assert len(messages) > 25
    assert [message for message in messages if not is_said(message)] == []


SHOWING = [ROOT / "README.md", DOCS / "index.md", DOCS / "schedule.md"]


@pytest.mark.parametrize("page", SHOWING, ids=name_of)
def test_python_of_a_page_runs(page, tmp_path, monkeypatch):
    import torchvision

    for name in ("zero", "one"):
        (tmp_path / "my_images" / name).mkdir(parents=True)
        for number in range(4):
            picture = torchvision.transforms.functional.to_pil_image(torch.rand(3, 40, 36))
            picture.save(tmp_path / "my_images" / name / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    found = {"images": torch.rand(2, 3, 32, 32), "labels": torch.tensor([0, 1])}
    blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for block in blocks:
        exec(compile(block, str(page), "exec"), found)  # noqa: S102 - our own pages
    assert blocks
    if "logits" in found:
        assert found["logits"].shape == (2, 2)
        assert torch.isfinite(found["loss"])
        assert isinstance(found["model"], torch.nn.Module)


def test_names_of_the_package_are_those_of_the_reference():
    rows = re.findall(r"^\| (`.+?) \|", (DOCS / "api" / "index.md").read_text(), flags=re.MULTILINE)
    shown = {name for row in rows for name in re.findall(r"`(?:modprompt\.)?(\w+)", row)}
    assert shown | {row.name for row in (*METHODS, *PLUG_INS)} == set(modprompt.__all__) | {"__version__"}


def test_settings_are_read_with_default_and_meaning(tmp_path):
    griffe = pytest.importorskip("griffe")
    (tmp_path / "a_method.py").write_text(
        "class M:\n"
        "    n: int = setting(2, 'tokens in front ' 'of a layer', least=1)\n"
        "    words: str = fields.setting('a photo', 'Words.')\n"
        "    again: float = changed(Other, 'again', 0.5)\n"
        "    other: int = 4\n"
        "    made: tuple = tuple(range(3))\n"
    )
    extensions = griffe.load_extensions(str(DOCS / "settings_of_methods.py"))
    found = griffe.load("a_method", search_paths=[tmp_path], extensions=extensions, allow_inspection=False)["M"].members
    read = {name: (str(field.value), field.docstring and field.docstring.value) for name, field in found.items()}
    assert read["n"] == ("2", "Tokens in front of a layer.")
    assert read["words"] == ("'a photo'", "Words.")
    assert read["again"] == ("0.5", "As in `Other`, with another default.")
    assert read["other"] == ("4", None)
    assert read["made"] == ("tuple(range(3))", None)


@pytest.mark.slow
def test_reference_has_a_table_of_all_settings_of_a_method():
    griffe = pytest.importorskip("griffe")
    extensions = griffe.load_extensions(str(DOCS / "settings_of_methods.py"))
    package = griffe.load("modprompt", search_paths=[ROOT], extensions=extensions, allow_inspection=False)
    for row in METHODS:
        text = package[f"{row.room}.{row.module}.{row.name}"].docstring.value
        shown = re.findall(r"^\| `(\w+)` \| `(.+?)` \| (.+?)\.? \|$", text, flags=re.MULTILINE)
        known = {one.field: (one.default, one.meaning.lower()) for one in row.method.settings()}
        assert {name: (ast.literal_eval(default), said.lower()) for name, default, said in shown} == known
    assert "| setting |" not in package["methods.parts.groups.Regularised"].docstring.value


def test_changelog_has_this_version():
    version, date = headings((ROOT / "CHANGELOG.md").read_text())[0]
    assert modprompt.__version__ == (f"{version}.dev0" if date == "unreleased" else version)


def test_release_notes_of_every_version_are_short_and_above_the_list():
    notes, _, rest = (ROOT / "CHANGELOG.md").read_text().partition("\n## Release notes\n")[2].partition("\n## ")
    versions = re.split(r"^### ", notes, flags=re.MULTILINE)[1:]
    assert [one.split()[0].strip(",") for one in versions] == [version for version, _ in headings(f"## {rest}")]
    assert all(0 < one.count("\n- ") <= 15 for one in versions)


@pytest.mark.slow
def test_site_is_built_without_a_warning_and_asks_nobody(tmp_path):
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("mkdocs is not installed")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(
        words, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    )
    assert done.returncode == 0, done.stderr[-2000:]
    loading = re.compile(
        r"<(?:script|img|iframe|link)\b[^>]*?(?:src|href)=\"?(?:https?:)?//[^\">]*|@import|url\(https?:"
    )
    built = sorted((tmp_path / "site").rglob("*.html"))
    assert len(built) > 20
    assert [found for page in built for found in loading.findall(page.read_text())] == []
    engine = (tmp_path / "site" / "api" / "engine.html").read_text()
    assert 'id="modprompt.engine.schedule.Schedule"' in engine  # modules are found
