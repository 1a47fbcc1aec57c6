"""What the README and the tutorials tell people to type works: run where that needs neither network, cluster nor GPU.

Every command of PAGES has one way (`way_of`): "run" as it stands, in the order of its page (SESSIONS); "parse", by its own
program's flags; "file" and "target", which must exist; "shell", a program that is not ours (SHELL). The ids of the cases
list which: python -m pytest tests/test_readme.py --collect-only -q
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
from modprompt.methods.table import METHODS, row_of
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
]
TUTORIALS += ["DATASETS", "RUN"]
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
SESSIONS = {  # pages whose commands are run, and what their YAML is saved as
    "README": "three.yaml",
    "own_images": "mine.yaml",
    "index": "",
}
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
    return "run" if command.page in SESSIONS and is_at_hand(rest) else "parse"


def is_at_hand(words):
    """Whether a command needs nothing but what its page has made: no weights, data sets, hub, cluster or codebase."""
    name = " ".join(words[:2]) if words[0] == "experiment" else words[0]
    needs = {"--backbone", "--host", "base2new", "photo.jpg", "photos/", "eurosat"} & set(words)
    return name in ("train", "active", "predict", "export", "experiment run", "--help") and not needs


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
    name, words = parse(list(command.words[1:]))
    if name in ("train", "active") and "--help" not in words and "--host" not in words:
        monkeypatch.undo()
        monkeypatch.chdir(tmp_path)
        for folder in ("my_images", "my_photos", "data"):
            pictures(tmp_path / folder, {"zero": 1, "one": 1})
        assert merged(settings_of(parse_args(words), takes_all=name == "active")).TRAINER.NAME == "MPL"
        return
    with pytest.raises((Parsed, SystemExit)) as ended:
        main(list(command.words[1:]))
    assert ended.type is Parsed or (words[-1] == "--help" and ended.value.code == 0)
    if name.startswith("experiment"):
        file = ended.value.args[0].file
        assert file == "output" or (ROOT / "configs" / "experiments" / f"{file}.yaml").is_file()


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


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", SESSIONS)
def test_page_runs_from_its_first_command_to_its_last(page, tmp_path):
    kept = {key: value for key, value in os.environ.items() if key not in ("DATA", "OUT")}
    environment = {**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OUT": str(tmp_path / "output")}
    environment["DATA"] = str(tmp_path / "data")
    pictures(tmp_path / "photos", {"all": 24})
    (tmp_path / "photos" / "classnames.txt").write_text("zero\none\n")
    ran = []

    def python(*words, codes=(0,)):
        done = run_python(*words, folder=tmp_path, environment=environment)
        assert done.returncode in codes, f"{words}: {done.stderr[-2000:]}"
        return done.stdout

    for kind, text in blocks(page):
        if kind == "yaml":
            (tmp_path / SESSIONS[page]).write_text(text)
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
            asks = words[1] == "active"  # for labels, and ends with 3
            short = SHORT.get(words[1], []) if "--help" not in words else []
            python("-m", *command.words, *short, codes=(3,) if asks else (0,))
            ran.append(words)
    assert len(ran) == sum(way_of(command) == "run" for command in COMMANDS if command.page == page)
    if page != "index":
        assert list((tmp_path / "output").rglob("reports/*/index.html"))


def test_rows_of_trainers_name_their_nodes():
    text = (ROOT / "docs" / "methods.md").read_text()
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| ((?:`TRAINER\.\w+`(?:, )?)+) \|", text, flags=re.MULTILINE)
    shown = {
        name: set(re.findall(r"TRAINER\.\w+", nodes)) for names, nodes in rows for name in re.findall(r"\w+", names)
    }
    assert {row.name for row in METHODS if not row.name.startswith(("Zeroshot", "Extras", "Trainer"))} == set(shown)
    assert all((row_of(name).node if name != "ALVLM" else "TRAINER.COOP") in nodes for name, nodes in shown.items())


def test_readme_is_short_and_has_every_method():
    text = (ROOT / "README.md").read_text()
    assert len(text.split()) <= 1200
    pages = {path.name for path in (ROOT / "docs" / "methods").glob("*.md")}
    assert pages <= set(re.findall(r"docs/methods/(\w+\.md)", text))


def test_every_path_in_the_text_exists():
    text = "\n".join(page.read_text() for page in PAGES.values())
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
