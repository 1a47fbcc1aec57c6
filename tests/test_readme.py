"""What the README and the pages tell people to type works: run where that needs neither network, cluster nor GPU.

Commands of a session's pages (SESSIONS) are run as they stand, in reading order, if all that they need is at hand;
other commands of ours are parsed by their own program; targets, scripts and modules must exist.
"""

import argparse
import re
import shlex
import shutil
import subprocess
import sys
from typing import NamedTuple

import pytest

from modprompt.cli.flags import parse_args, settings_of
from modprompt.cli.main import main, parse
from modprompt.trainers import run  # noqa: F401 - registers all
from modprompt.trainers.config import of_settings
from tests.conftest import ROOT
from tests.modprompt.data.trees import pictures

PAGES = {path.stem: path for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"))}
BLOCK = re.compile(r"^```(bash|yaml|python)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SHELL = {"eval", "pip", "python3", "source", "cd", "cp", "export", "git", "hf", "sbatch"}
SESSIONS = [  # pages whose commands are run, those of a session in one folder, as people read them
    ("README",),
    ("own_images",),
    ("INSTALL", "RUN", "schedule", "numbers", "troubleshooting"),
    ("use", "experiments", "active"),
]
YAML = {"README": "three.yaml", "own_images": "mine.yaml"}  # what a page's is saved as
AT_HAND = {"train", "active", "predict", "export", "interpret", "doctor", "experiment", "--help", "--version"}
NEEDED = {  # that a session does not have
    "--backbone", "--host", "--zero-shot", "base2new", "eurosat", "imagenetv2", "output/my_photos/shots_all/MPL/vit_b4_c1_add2_rm1/seed1",
    "output/theirs", "lora", "rates.yaml", "output", "/path/to/CoOp/output", "active_digits", "dpl_digits", "why_prompts", "...", "cat",
}  # fmt: skip
SHORT = {"train": ["OPTIM.MAX_EPOCH", "1"], "experiment": ["--options", "OPTIM.MAX_EPOCH", "1"]}  # else minutes


class Command(NamedTuple):
    """A command of a page, in words."""

    page: str
    words: tuple

    def __str__(self):
        return f"{self.page}: {shlex.join(self.words)}"

    @property
    def kind(self):
        """How it is tried."""
        first, *rest = self.words
        if first in SHELL:
            return "shell"
        if first in ("make", "bash", "python"):
            return first
        if first != "modprompt":
            return "unknown"
        at_hand = (rest[0] in AT_HAND or "--dry-run" in rest) and not NEEDED & set(rest)
        return "run" if at_hand and any(self.page in pages for pages in SESSIONS) else "parse"


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


def blocks(page):
    return BLOCK.findall(PAGES[page].read_text())


BASH = [(page, text) for page in PAGES for kind, text in blocks(page) if kind == "bash"]
COMMANDS = [Command(page, words) for page, text in BASH for words in split(text)]


class Parsed(Exception):
    """The words were accepted."""


@pytest.fixture
def only_parsed(monkeypatch):
    """Programs end once they have read all their words."""
    original = argparse.ArgumentParser.parse_known_args

    def parse_known_args(self, *args, **kwargs):
        settings, unknown = original(self, *args, **kwargs)
        if unknown:
            return settings, unknown
        raise Parsed(settings)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_known_args", parse_known_args)


def fault_of(command):
    """What is wrong with a command that its program only parses; empty if nothing is."""
    name, words = parse([word for word in command.words[1:] if word != "..."])
    try:
        main([*name.split(), *words])
    except Parsed as parsed:
        file = getattr(parsed.args[0], "file", None) if name.startswith("experiment") else None
        known = file in (None, "output", "rates.yaml", "/path/to/CoOp/output", *YAML.values())
        return "" if known or (ROOT / "configs" / "experiments" / f"{file}.yaml").is_file() else f"no {file}"
    except SystemExit as ended:
        return "" if words[-1] == "--help" and ended.code == 0 else f"exit code {ended.code}"
    return "not parsed"


def test_commands_are_accepted_by_their_programs(monkeypatch, tmp_path, only_parsed, capsys):
    monkeypatch.chdir(tmp_path)
    commands = [one for one in dict.fromkeys(COMMANDS) if one.kind in ("run", "parse") and len(one.words) > 2]
    assert len(commands) > 60
    faults = {str(command): fault_of(command) for command in commands}
    assert {command: fault for command, fault in faults.items() if fault} == {}


def test_settings_of_trainings_that_cannot_run_here_are_merged(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for folder in ("my_images", "my_photos", "data", "photos"):
        pictures(tmp_path / folder, {"zero": 1, "one": 1})
    (tmp_path / "shots.csv").write_text("class,shots\nzero,1\none,1\n")
    elsewhere = {"...", "--host", "--help", "--import"}
    trainings = [one.words[1:] for one in COMMANDS if one.kind == "parse" and not elsewhere & {*one.words}]
    trainers = {
        of_settings(settings_of(parse_args(words), takes_all=name == "active")).TRAINER.NAME
        for name, *words in trainings
        if name in ("train", "active")
    }
    assert trainers == {"MPL"}


def exists(command):
    """Whether there is what a command calls that is no program of ours."""
    if command.kind == "make":
        return f"\n{command.words[1]}:" in (ROOT / "Makefile").read_text()
    if command.kind == "bash":
        return (ROOT / command.words[1]).is_file()
    module = ROOT / command.words[2].replace(".", "/")
    return module.with_suffix(".py").is_file() or (module / "__main__.py").is_file()


def test_targets_scripts_and_modules_exist():
    assert [str(command) for command in COMMANDS if command.kind == "unknown"] == []
    others = [command for command in COMMANDS if command.kind in ("make", "bash", "python")]
    assert [str(command) for command in others if not exists(command)] == []


def test_readme_has_the_two_commands_that_set_everything_up(tmp_path, capsys):
    makefile, readme = (ROOT / "Makefile").read_text(), PAGES["README"].read_text()
    typed = {command.words[:2] for command in COMMANDS if command.page == "README"}
    for target in ("demo", "test"):
        assert ("make", target) in typed
        assert f"\n{target}: $(ready)\n" in makefile
    assert main(["experiment", "run", "demo", "--dry-run", "--data", str(tmp_path), "--out", str(tmp_path)]) == 0
    runs = [line for line in capsys.readouterr().out.splitlines() if " --trainer " in line]
    tests = sum(" --eval-only" in line or " ZeroshotCLIP" in line for line in runs)
    assert f"runs {len(runs) - tests} trainings and {tests} tests" in readme


def session_folder(folder, pages):
    """Photos and, for pages that use one, what else they name; the commands that make their trained run."""
    pictures(folder / "photos", {"all": 24})
    (folder / "photos" / "classnames.txt").write_text("zero\none\n")
    if "use" not in pages:
        return []
    pictures(folder / "more", {"": 2})
    shutil.copy(next((folder / "photos").rglob("*.png")), folder / "photo.jpg")
    (folder / "names.txt").write_text("zero\none\n")
    return [("modprompt", "train", "--trainer", "MPL", "--output-dir", "output/run", *SHORT["train"])]


def as_typed(command, folder):
    """A command's words as a shell gives them to it, and what makes it short."""
    typed = []
    for word in command.words:
        typed += sorted(str(path.relative_to(folder)) for path in folder.glob(word)) if "*" in word else [word]
    if not {"--help", "--no-train"} & {*typed}:
        typed += (["--seeds", "1"] if command.page == "experiments" else []) + SHORT.get(typed[1], [])
    return typed


@pytest.fixture
def typed(tmp_path, monkeypatch, capfd):
    """Runs a command in this process and in a folder of the test; gives what it prints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["modprompt"])
    for name, value in {"OUT": tmp_path / "output", "DATA": tmp_path / "data", "PYTHONPATH": ROOT}.items():
        monkeypatch.setenv(name, str(value))

    def run_it(_, *words, code=0):
        capfd.readouterr()
        try:
            ended = main([*words])
        except SystemExit as parsed:  # --help
            ended = parsed.code
        out, err = capfd.readouterr()
        assert ended == code, f"{words}: {err[-2000:]}"
        return out

    return run_it


def same_as_predicted(text, typed):
    """Whether a page's program for an exported file prints what `modprompt predict` does."""
    (folder,) = re.findall(r'InferenceSession\("(.+)/export\.onnx"\)', text)
    (image,) = re.findall(r'^PHOTO = "(.+)"$', text, re.MULTILINE)
    predicted = typed("modprompt", "predict", folder, image, "--top", "2").partition(": ")[2]
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    return done.stdout.split() == predicted.replace(",", "").split()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore")  # as in a program
@pytest.mark.parametrize("pages", SESSIONS, ids=lambda pages: pages[0])
def test_pages_run_from_their_first_command_to_their_last(pages, tmp_path, typed):
    ran = []
    for words in session_folder(tmp_path, pages):
        typed(*words)
    for page, (kind, text) in ((name, block) for name in pages for block in blocks(name)):
        if kind == "yaml" and page in YAML:
            (tmp_path / YAML[page]).write_text(text)
        elif kind == "python" and "onnxruntime" in text:
            assert same_as_predicted(text, typed)
        for words in split(text) if kind == "bash" else ():
            command = Command(page, words)
            if words[0] == "cp":
                shutil.copytree(tmp_path / words[-2], tmp_path / words[-1])
            if command.kind == "run":
                asks = words[1] == "active" and "--root" in words  # for labels, and ends with 3
                typed(*as_typed(command, tmp_path), code=3 if asks else 0)
                ran.append(words)
    assert len(ran) == sum(command.kind == "run" for command in COMMANDS if command.page in pages)
    if pages[0] in YAML:
        assert list((tmp_path / "output").rglob("reports/*/index.html"))


@pytest.mark.slow
def test_numbers_of_runs_are_those_of_the_plans(tmp_path, capsys):
    rows = re.findall(r"^\| `(\w+)` \|.*\| (\d+) \|$", PAGES["reproduce"].read_text(), flags=re.MULTILINE)
    planned = []
    for name, _ in rows:
        words = ["experiment", "run", name, "--dry-run", "--data", str(tmp_path), "--out", str(tmp_path)]
        assert main(words) == 0
        planned += re.findall(r"# \d+ of (\d+) runs would start", capsys.readouterr().out)
    assert [name for name, _ in rows] == ["base2new", "cross_dataset", "domain_generalisation", "few_shot"]
    assert planned == [number for _, number in rows]
