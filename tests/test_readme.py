"""What the README and the tutorials tell people to type works: run where that needs neither network, cluster nor GPU.

Every command of PAGES has one way (`way_of`): "run" as it stands, in the order of its pages (SESSIONS); "parse", by its
own program's flags; "file" and "target", which must exist; "shell",
a program that is not ours (SHELL). The ids of the cases list which: python -m pytest tests/test_readme.py --collect-only
"""

import argparse
import os
import re
import shlex
import shutil
from typing import NamedTuple

import pytest
import yaml

from modprompt.cli import flags
from modprompt.cli.flags import parse_args, settings_of
from modprompt.cli.main import main, parse
from modprompt.trainers import run  # noqa: F401 - registers all
from modprompt.trainers.run_config import merged
from tests.conftest import ROOT
from tests.modprompt.data.trees import pictures
from tests.warm import run_python
from tools.release import headings

TUTORIALS = [
    "index",
    "INSTALL",
    "own_images",
    "first_settings",
    "numbers",
    "reproduce",
    "clusters",
    "use",
    "export_show",
    "search",
    "schedule",
    "experiments",
    "active",
    "backbones",
    "together",
    "hosts",
    "performance",
    "reliability",
    "results",
    "troubleshooting",
    "DATASETS",
    "RUN",
]
PAGES = {
    "README": ROOT / "README.md",
    "CONTRIBUTING": ROOT / "CONTRIBUTING.md",
    **{name: ROOT / "docs" / f"{name}.md" for name in TUTORIALS},
}
BLOCK = re.compile(r"^```(bash|yaml|python)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SHELL = {"pip", "python3", "source", "cd", "cp", "export", "git", "hf", "sbatch"}
FRONTS = {  # what is typed in a checkout, and the command that it is
    ("python", "train.py"): "train",
    ("python", "-m", "datasets.prepare"): "prepare",
    ("python", "-m", "experiments.run"): "experiment run",
    ("python", "-m", "experiments.report"): "experiment report",
    ("python", "-m", "tools.interpret"): "interpret",
    ("python", "-m", "modprompt.doctor"): "doctor",
}
SESSIONS = [  # pages whose commands are run, those of a session in one folder, as people read them
    ("README",),
    ("own_images",),
    ("INSTALL", "index", "first_settings", "search", "schedule", "numbers", "troubleshooting"),
    ("use", "export_show", "experiments", "active"),
]
YAML = {"README": "three.yaml", "own_images": "mine.yaml"}  # what a page's is saved as
CLIP_AT_HAND = "glyph-clip"  # others are downloaded


class Command(NamedTuple):
    """A command of a page: its words, after the flags of a front as `modprompt NAME`."""

    page: str
    words: tuple

    def __str__(self):
        return f"{self.page}: {shlex.join(self.words)}"


def split(text):
    """The words of each command of a block."""
    for line in text.replace("\\\n", " ").splitlines():
        words = []
        line = re.sub(r"^(\w+=\S+ )+", "", line)  # of the environment
        for word in [*shlex.split(line, comments=True), "&&"]:
            if word != "&&":
                words.append(word)
            elif words:
                yield tuple(words)
                words = []


def ours(words):
    """A command of ours as `modprompt NAME ...`; others as they are."""
    for front, name in FRONTS.items():
        if words[: len(front)] == front:
            return ("modprompt", *name.split(), *words[len(front) :])
    return words


def blocks(page):
    return BLOCK.findall(PAGES[page].read_text())


COMMANDS = [
    Command(page, ours(words))
    for page in PAGES
    for kind, text in blocks(page)
    if kind == "bash"
    for words in split(text)
]


def way_of(command):
    """How a command is tried.

    Raises:
        ValueError: if there is no way for it.
    """
    first, *rest = command.words
    if first in SHELL:
        return "shell"
    if first == "make":
        return "target"
    if first == "bash":
        return "file"
    if first == "python" and rest[0] == "-m":
        return "module"
    if first != "modprompt":
        raise ValueError(f"{command}: no way to try it")
    return "run" if any(command.page in pages for pages in SESSIONS) and is_at_hand(rest) else "parse"


AT_HAND = {"train", "active", "predict", "export", "interpret", "doctor", "experiment", "--help", "--version"}
NEEDED = {  # that a session does not have
    "--backbone", "--host", "base2new", "eurosat", "output/my_photos/shots_all/MPL/vit_b4_c1_add2_rm1/seed1", "output/theirs",
    "lora", "rates.yaml", "/path/to/CoOp/output", "active_digits", "...", "cat",
}  # fmt: skip


def is_at_hand(words):
    """Whether a command needs nothing but what its session has: no weights, data sets, hub, cluster, codebase or hours."""
    return (words[0] in AT_HAND or "--dry-run" in words) and not NEEDED & set(words)


def tried(way):
    found = [command for command in dict.fromkeys(COMMANDS) if way_of(command) == way]
    return pytest.mark.parametrize("command", found, ids=str)


def test_every_command_has_its_way():
    ways = [way_of(command) for command in COMMANDS]
    assert set(ways) == {"run", "parse", "target", "file", "module", "shell"}
    with pytest.raises(ValueError, match="no way"):
        way_of(Command("README", ("conda", "install", "x")))


class Parsed(Exception):
    """The words were accepted."""


@pytest.fixture
def only_parsed(monkeypatch):
    """Programs end once they have read their words."""

    def ended(parser, original):
        def parse_args(self, *args, **kwargs):
            raise Parsed(original(self, *args, **kwargs))

        monkeypatch.setattr(parser, "parse_args", parse_args)

    for parser in (argparse.ArgumentParser, flags._Parser):
        ended(parser, parser.parse_args)


@tried("parse")
def test_command_is_accepted_by_its_program(command, monkeypatch, tmp_path, only_parsed):
    monkeypatch.chdir(tmp_path)
    if command.words[1:] in (("--help",), ("--version",)):
        assert main(list(command.words[1:])) == 0
        return
    name, words = parse([word for word in command.words[1:] if word != "..."])
    if name in ("train", "active") and "--help" not in words and "--host" not in words:
        monkeypatch.undo()
        monkeypatch.chdir(tmp_path)
        if "..." in command.words:
            parse_args(words)
            return
        for folder in ("my_images", "my_photos", "data", "photos"):
            pictures(tmp_path / folder, {"zero": 1, "one": 1})
        assert merged(settings_of(parse_args(words), takes_all=name == "active")).TRAINER.NAME == "MPL"
        return
    with pytest.raises((Parsed, SystemExit)) as ended:
        main([*name.split(), *words])
    assert ended.type is Parsed or (words[-1] == "--help" and ended.value.code == 0)
    if name.startswith("experiment"):
        file = ended.value.args[0].file
        assert (
            file in ("output", "rates.yaml", "/path/to/CoOp/output")
            or (ROOT / "configs" / "experiments" / f"{file}.yaml").is_file()
        )


@tried("target")
def test_target_exists(command):
    assert f"\n{command.words[1]}:" in (ROOT / "Makefile").read_text()


@tried("file")
def test_script_exists(command):
    assert (ROOT / command.words[1]).is_file()


@tried("module")
def test_module_exists(command):
    module = ROOT / command.words[2].replace(".", "/")
    assert module.with_suffix(".py").is_file() or (module / "__main__.py").is_file()


def test_other_programs_accept_what_is_written(monkeypatch):
    from lpclip import feat_extractor

    monkeypatch.chdir(ROOT)
    (command,) = (one for one in COMMANDS if one.words[2:3] == ("lpclip.feat_extractor",))
    own, rest = feat_extractor.parse(list(command.words[3:]))
    assert own.output_dir == "clip_feat"
    assert merged(settings_of(parse_args(["--trainer", "ZeroshotCLIP", *rest]))).DATASET.NAME == "OxfordPets"


SHORT = {"train": ["OPTIM.MAX_EPOCH", "1"], "experiment": ["--options", "OPTIM.MAX_EPOCH", "1"]}  # else minutes


def session_folder(folder, pages):
    """What people have there: photos, and for pages that use it a trained run."""
    pictures(folder / "photos", {"all": 24})
    (folder / "photos" / "classnames.txt").write_text("zero\none\n")
    if any("output/run" in command.words for command in COMMANDS if command.page in pages):
        pictures(folder / "more", {"": 2})
        shutil.copy(next((folder / "photos").rglob("*.png")), folder / "photo.jpg")
        (folder / "names.txt").write_text("zero\none\n")
        return [["modprompt", "train", "--trainer", "MPL", "--output-dir", "output/run", *SHORT["train"]]]
    return []


def as_typed(command, folder):
    """A command's words as a shell gives them to it, and what makes it short."""
    found = []
    for word in command.words:
        found += sorted(str(path.relative_to(folder)) for path in folder.glob(word)) if "*" in word else [word]
    if not {"--help", "--no-train"} & {*found}:
        found += (["--seeds", "1"] if command.page == "experiments" else []) + SHORT.get(found[1], [])
    return found


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("pages", SESSIONS, ids=lambda pages: pages[0])
def test_pages_run_from_their_first_command_to_their_last(pages, tmp_path):
    kept = {key: value for key, value in os.environ.items() if key not in ("DATA", "OUT")}
    environment = {**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OUT": str(tmp_path / "output")}
    environment["DATA"] = str(tmp_path / "data")
    ran = []

    def python(*words, codes=(0,)):
        done = run_python(*words, folder=tmp_path, environment=environment)
        assert done.returncode in codes, f"{words}: {done.stderr[-2000:]}"
        return done.stdout

    for words in session_folder(tmp_path, pages):
        python("-m", *words)
    for page, (kind, text) in ((name, block) for name in pages for block in blocks(name)):
        if kind == "yaml" and page in YAML:
            (tmp_path / YAML[page]).write_text(text)
        elif kind == "python" and "onnxruntime" in text:
            (folder,) = re.findall(r'InferenceSession\("(.+)/export\.onnx"\)', text)
            (image,) = re.findall(r'^PHOTO = "(.+)"$', text, re.MULTILINE)
            predicted = python("-m", "modprompt", "predict", folder, image, "--top", "2")
            assert python("-c", text).split() == predicted.partition(": ")[2].replace(",", "").split()
        for words in split(text) if kind == "bash" else ():
            command = Command(page, ours(words))
            if words[0] == "cp":
                shutil.copytree(tmp_path / words[-2], tmp_path / words[-1])
            if way_of(command) != "run":
                continue
            asks = words[1] == "active" and "--root" in words  # for labels, and ends with 3
            python("-m", *as_typed(command, tmp_path), codes=(3,) if asks else (0,))
            ran.append(words)
    assert len(ran) == sum(way_of(command) == "run" for command in COMMANDS if command.page in pages)
    if pages[0] in YAML:
        assert list((tmp_path / "output").rglob("reports/*/index.html"))


def test_readme_is_short_and_has_every_method():
    text = (ROOT / "README.md").read_text()
    assert len(text.split()) <= 1200
    pages = {path.name for path in (ROOT / "docs" / "methods").glob("*.md")}
    assert pages <= set(re.findall(r"docs/methods/(\w+\.md)", text))


def test_every_path_in_the_text_exists():
    text = "\n".join(page.read_text() for name, page in PAGES.items() if name != "hosts")  # it names others' paths
    paths = re.findall(r"`((?:scripts|configs|tools|modprompt|datasets|tests|compat|trainers)/[\w./-]*)", text)
    assert len(paths) > 10
    for path in paths:
        assert (ROOT / path).exists(), path


def test_table_of_the_schedule_is_the_real_one():
    from modprompt.engine.schedule import modular

    assert modular(12, depth=9, first=1, remove=1, add=2).table() in (ROOT / "docs" / "schedule.md").read_text()


def test_published_averages_are_those_of_the_data_file():
    from modprompt.experiments.reporting import published

    text = (ROOT / "docs" / "reproduce.md").read_text()
    rows = re.findall(r"^\| ([\w()+ ]+) \| (\d+\.\d\d) \| (\d+\.\d\d) \| (\d+\.\d\d) \|", text, flags=re.MULTILINE)
    shown = {name: tuple(map(float, numbers)) for name, *numbers in rows}
    known = {
        row["method"] + (f" ({row['where']})" if "where" in row else ""): (row["base"], row["new"], row["H"])
        for row in published.known()["rows"]
        if (row["protocol"], row["dataset"]) == ("base2new", "average")
    }
    assert len(shown) == 14
    assert shown.items() <= known.items()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["base2new", "cross_dataset", "domain_generalisation", "few_shot"])
def test_number_of_runs_is_that_of_the_plan(name, tmp_path, capsys):
    (shown,) = re.findall(rf"^\| `{name}` \|.*\| (\d+) \|$", PAGES["reproduce"].read_text(), flags=re.MULTILINE)
    words = ["experiment", "run", name, "--dry-run", "--data", str(tmp_path), "--out", str(tmp_path)]
    assert main(words) == 0
    assert f"# {shown} of {shown} runs would start" in capsys.readouterr().out


def test_workflows_and_hooks_call_targets_that_there_are():
    makefile = (ROOT / "Makefile").read_text()
    files = [*(ROOT / ".github" / "workflows").glob("*.yml"), ROOT / ".pre-commit-config.yaml"]
    called = [target for file in files for target in re.findall(r"(?:run|entry): make (\w+)", file.read_text())]
    assert set(called) == {"lint", "test", "docs", "wheel"}
    assert all(f"\n{target}: " in makefile for target in called)


def test_workflows_take_the_index_from_a_variable_and_keep_what_was_downloaded():
    for file in (ROOT / ".github" / "workflows").glob("*.yml"):
        content = yaml.safe_load(file.read_text())
        assert content["env"]["PIP_INDEX_URL"] == "${{ vars.PIP_INDEX_URL }}", file.name  # pip skips an empty one
        steps = [step for job in content["jobs"].values() for step in job["steps"]]
        pythons = [step["with"] for step in steps if step.get("uses", "").startswith("actions/setup-python@")]
        assert all(one["cache"] == "pip" and (ROOT / one["cache-dependency-path"]).is_file() for one in pythons)


def test_templates_ask_for_the_doctor_first():
    bug = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / "bug.yml").read_text())
    assert "modprompt doctor" in bug["body"][0]["attributes"]["label"]
    assert "modprompt doctor" in (ROOT / ".github" / "pull_request_template.md").read_text().splitlines()[0]


def test_citation_is_of_the_newest_release_with_its_date():
    released = [one for one in headings((ROOT / "CHANGELOG.md").read_text()) if one[1] != "unreleased"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], str(citation["date-released"])) == released[0]
    assert {"cff-version", "title", "authors", "message"} <= set(citation)


@pytest.mark.slow
def test_notebook_runs(tmp_path):
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(ROOT / "docs" / "first_steps.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # what is shown is what was run by whoever reads it
    resources = {"metadata": {"path": str(tmp_path)}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
        nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    said = "".join(out.get("text", "") for cell in notebook.cells for out in cell.get("outputs", ()))
    zero_shot, trained = (float(one) for one in re.findall(r"(?:CLIP|MPL): ([\d.]+)%", said))
    assert trained > zero_shot > 80
