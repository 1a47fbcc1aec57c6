"""What the pages say exists, is true of the code, and makes a site; the Python that they show runs."""

import ast
import importlib
import os
import re
import subprocess
import sys

import pytest
import torch
import yaml

import modprompt
from modprompt.cli import train
from modprompt.compat.defaults import DEFAULTS, OURS
from modprompt.engine.schedule import modular
from modprompt.io.settings import flat
from modprompt.methods.table import METHODS, PLUG_INS
from tests.conftest import ROOT
from tests.modprompt.test_boundaries import FLOORS
from tests.registered import forget
from tests.test_train import losses

DOCS, PACKAGE = ROOT / "docs", ROOT / "modprompt"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
OWN = re.findall(r"```python\n(.*?)```", (DOCS / "own_trainer.md").read_text(), flags=re.DOTALL)
GROWING, SCALES = OWN[0], next(text for text in OWN if "LayerChange" in text)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Imports the code of a page as a module, whose trainer is forgotten afterwards."""
    entered = []

    def make(trainer, text):
        name = f"{trainer.lower()}_example"
        (tmp_path / f"{name}.py").write_text(text)
        entered.append((trainer, name))
        return importlib.import_module(name)

    monkeypatch.syspath_prepend(tmp_path)
    yield make
    for names in entered:
        forget(*names)


def test_example_is_a_whole_method_in_under_80_lines(own, command, tmp_path, capsys):
    own("Growing", GROWING)
    assert len(GROWING.splitlines()) < 80
    assert train.main(command("Growing", "TRAINER.GROWING.PROMPT_DEPTH", 3, "OPTIM.MAX_EPOCH", 3)) == 0
    assert len(losses(capsys.readouterr().out)) == 15
    saved = torch.load(tmp_path / "out" / "prompt_learner" / "model.pth.tar-3", weights_only=True)["state_dict"]
    gates = saved["prompt_learner.gates"]
    assert torch.all(gates[:3] != 0)  # they were trained
    assert gates[3] == 0  # no token there
    deep = [f"image_encoder.transformer.resblocks.{layer}.VPT_shallow" for layer in (1, 2)]
    assert [key for key in saved if key.startswith("image_encoder.")] == ["image_encoder.VPT", *deep]
    assert train.main(command("Growing", "TRAINER.GROWING.PROMPT_DEPTH", 0)) == 2
    assert "error: TRAINER.GROWING.PROMPT_DEPTH" in capsys.readouterr().err


def test_residual_is_a_whole_method_in_under_60_lines(own, command, tmp_path, capsys):
    module = own("Scales", SCALES)
    assert len(SCALES.splitlines()) < 60
    assert train.main(command("Scales", "OPTIM.WARMUP_EPOCH", 0)) == 0
    out = capsys.readouterr().out
    assert "Learning rate of vision: 0.1 times OPTIM.LR, weight decay 0" in out
    assert len(losses(out)) == 10
    saved = torch.load(tmp_path / "out" / "prompt_learner" / "model.pth.tar-2", weights_only=True)["state_dict"]
    assert all(torch.all(tensor != 0) for tensor in saved.values())
    (optimiser,) = re.findall(r"`(torch\.optim\..+?)` has the groups", (DOCS / "own_trainer.md").read_text())
    model = module.Scales().on(modprompt.load_clip("glyph-clip", device="cpu")[0], ["zero", "one"])
    groups = eval(optimiser, {"torch": torch, "model": model}).param_groups  # noqa: S307 - our own page
    assert sorted(group["lr"] for group in groups) == pytest.approx([0.0002, 0.002])


@pytest.mark.slow
def test_example_works_in_python_without_dassl(tmp_path):
    (tmp_path / "growing.py").write_text(GROWING)
    code = (
        "import sys, torch, modprompt, growing\n"
        "clip_model, _ = modprompt.load_clip('glyph-clip', device='cpu')\n"
        "model = growing.Growing(prompt_depth=3).on(clip_model, ['zero', 'one']).eval()\n"
        "model.save('growing.pt')\n"
        "again, images = modprompt.load('growing.pt', clip_model), torch.rand(1, 3, 32, 32)\n"
        "assert torch.equal(again(images), model(images))\n"
        "assert 'dassl' not in sys.modules\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_python_of_the_pages_runs(tmp_path, monkeypatch):
    from torchvision.transforms.functional import to_pil_image

    for name in ("zero", "one"):
        (tmp_path / "my_images" / name).mkdir(parents=True)
        for number in range(4):
            to_pil_image(torch.rand(3, 40, 36)).save(tmp_path / "my_images" / name / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    pages = ["index", "python", "api/clip", "api/schedules", "api/errors", "schedule"]
    for page in (
        ROOT / "README.md",
        *(DOCS / f"{name}.md" for name in pages),
        *sorted((DOCS / "methods").glob("*.md")),
    ):
        names = {}
        blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text(), flags=re.DOTALL | re.MULTILINE)
        assert blocks, page
        for block in blocks:
            if "# pairs of a validation batch" not in block:  # the data of the search's loop are the reader's
                exec(compile(block, str(page), "exec"), names)  # noqa: S102 - our own pages
        if page.name == "README.md":
            assert names["probabilities"].shape == (4, 3)
            assert torch.all(names["probabilities"].sum(dim=1).isclose(torch.tensor(1.0)))
            assert len(blocks[0].strip().splitlines()) <= 10


def prose(page):
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(page):
    """The anchors of a page's headings, as sites make them."""
    heads = re.findall(r"^#+ (.+)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", head).strip().lower()) for head in heads}


def dead_links(page):
    """Relative links of a page that lead to no file or to no heading."""
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if ":" not in link and (not target.exists() or (anchor and anchor not in anchors(target))):
            yield f"{page.name}: {link}"


def lost_files(page):
    """Files of this project that a page names and that are not there."""
    folders = "modprompt|tests"
    if page.name != "hosts.md":  # which names folders of other codebases
        folders += "|scripts|configs|datasets|trainers|benchmarks|lpclip|tools|experiments"
    for path in re.findall(rf"`((?:{folders})/[\w./-]*)", prose(page)):
        if not (ROOT / path).exists():
            yield f"{page.name}: {path}"


def test_links_lead_somewhere_and_files_exist():
    assert [fault for page in PAGES for fault in (*dead_links(page), *lost_files(page))] == []


def test_overview_lists_every_method_page():
    pages = {path.name for path in (DOCS / "methods").glob("*.md")}
    assert pages - set(re.findall(r"methods/(\w+\.md)", (DOCS / "methods.md").read_text())) == set()


def test_public_interface_is_that_of_the_reference():
    page = "".join(path.read_text() for path in (DOCS / "api").glob("*.md"))
    shown = set(re.findall(r"^::: modprompt\.(\S+)$", page, flags=re.MULTILINE))
    methods = {row.name for row in (*METHODS, *PLUG_INS)}
    lazy = {f"{module}.{name}" for name, module in modprompt.LAZY.items() if name not in methods}
    beside = {"engine.prompts.Prompts", "engine.layer_change.LayerChange", "methods.parts.capabilities"}
    heads = {"methods.heads.features.read_features", "trainers.on_features.fit", "trainers.on_features.evaluate"}
    assert shown == lazy | beside | heads | {"errors.UserError", "errors.SettingError"}


SECTIONS = [
    "What it does and when to use it",
    "Python",
    "Command line",
    "Settings",
    "Differences from the original code",
]


@pytest.mark.parametrize("page", sorted((DOCS / "methods").glob("*.md")), ids=lambda page: page.stem)
def test_method_pages_have_the_same_sections(page):
    heads = re.findall(r"^## (.+)$", page.read_text(), flags=re.MULTILINE)
    assert heads == [*SECTIONS, "Results", "Paper and repository"]


def test_every_page_is_in_the_navigation():
    nav = (ROOT / "mkdocs.yml").read_text()
    made = {"first_steps.md", "contributing.md", "changelog.md"}
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")} | made
    assert {name for name in re.findall(r"[\w/]+\.md", nav)} == pages


def test_configuration_page_has_the_keys_and_defaults_of_the_code():
    rows = re.findall(r"^\| (`[A-Z].+?) \| (.+?) \|", (DOCS / "configuration.md").read_text(), flags=re.MULTILINE)
    shown = {}
    for keys, defaults in rows:
        names, values = re.findall(r"`([A-Z][A-Z0-9_.]+)`", keys), re.findall(r"`(.+?)`", defaults)
        shown.update(zip(names, values if len(values) == len(names) else [""] * len(names)))
    defaults = {**flat(DEFAULTS), **flat(OURS)}
    assert set(flat(OURS)) - set(shown) == set()
    assert [key for key in shown if key not in defaults] == []
    chosen = {
        "SEED",
        "OUTPUT_DIR",
        "DATASET.ROOT",
        "INPUT.PIXEL_MEAN",
        "INPUT.PIXEL_STD",
    }  # by the command, or in words
    wrong = {key: value for key, value in shown.items() if value and key not in chosen and value != str(defaults[key])}
    assert wrong == {}
    assert [
        key for key, value in shown.items() if not value and key not in chosen and defaults[key] not in ("", (), [])
    ] == []


def test_floors_of_the_architecture_are_those_that_are_tested():
    rows = re.findall(r"^\| (\d+) \| ((?:`\w+` ?)+)\|", (DOCS / "architecture.md").read_text(), flags=re.MULTILINE)
    shown = {int(floor): set(re.findall(r"\w+", rooms)) for floor, rooms in rows}
    assert [shown[floor] for floor in sorted(shown)] == [set(rooms) for rooms in FLOORS]


def test_table_of_the_schedule_is_the_real_one():
    assert modular(12, depth=9, first=1, remove=1, add=2).table() in (DOCS / "schedule.md").read_text()


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
    texts = [text for path in PACKAGE.rglob("*.py") for text in texts_of(path)]
    unknown = []
    for message in (line for block in blocks for line in block.splitlines()):
        parts = ".*".join(re.escape(part.strip()) for part in message.split("..."))
        if not any(re.search(rf"(^|\0|: ){parts}", text) for text in texts):
            unknown.append(message)
    assert (len(blocks) > 5, unknown) == (True, [])


def test_version_is_the_newest_of_changelog_and_citation():
    version, date = re.findall(r"^## (\S+) \((.+)\)$", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)[0]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], str(citation["date-released"])) == (version, date)
    assert modprompt.__version__ == version


@pytest.mark.slow
def test_site_is_built_without_a_warning_and_asks_nobody(tmp_path):
    pytest.importorskip("mkdocs")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    loading = r"<(?:script|img|iframe|link)\b[^>]*?(?:src|href)=\"?(?:https?:)?//[^\">]*|@import|url\(https?:"
    pages = {page: page.read_text() for page in (tmp_path / "site").rglob("*.html")}
    assert [load for text in pages.values() for load in re.findall(loading, text)] == []
    assert 'id="modprompt.engine.schedule.Schedule"' in pages[tmp_path / "site" / "api" / "schedules.html"]


@pytest.mark.slow
def test_notebook_runs(tmp_path):
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(DOCS / "first_steps.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # what is shown is what was run by whoever reads it
    resources = {"metadata": {"path": str(tmp_path)}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
        nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    printed = "".join(out.get("text", "") for cell in notebook.cells for out in cell.get("outputs", ()))
    zero_shot, trained = (float(share) for share in re.findall(r"(?:CLIP|MPL): ([\d.]+)%", printed))
    assert trained > zero_shot > 80
