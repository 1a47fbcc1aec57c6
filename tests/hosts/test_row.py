import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.hosts import row
from tests.hosts.bench import EPOCHS, MODEL, Desk, Run, difference, other_tensors, read_run, same_number

LOG = """
epoch [1/2] batch [1/2] time 0.1 (0.1) data 0.0 (0.0) loss 1.5816 (1.5816) lr 1.0e-05 eta 0:00:00
epoch [1/2] batch [2/2] time 0.1 (0.1) data 0.0 (0.0) loss 2.1899 (1.8858) lr 1.0e-05 eta 0:00:00
=> result
* total: 1,035
* correct: 207
* accuracy: 20.0%
* error: 80.0%
* macro_f1: 9.3%
"""
RUN = read_run(0, LOG, "")


def test_what_a_run_printed_is_read():
    assert RUN[:3] == (0, (1.5816, 2.1899), ("1035", "207", "20.0", "9.3"))
    assert not RUN.failed
    assert read_run(0, "nothing", "").failed == "it tested nothing"
    bad = read_run(1, LOG, "Traceback\nyacs.X: no\nKeyError: 'a'\n  some note\n")
    assert bad.failed == "exit code 1: KeyError: 'a'"
    assert (
        read_run(2, "", "error: there is no config file x\n").failed == "exit code 2: error: there is no config file x"
    )


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [("37.1", "37.143", True), ("37.14", "37.143", True), ("37.1", "37.2", False), ("37.1", "37.20", False),
     ("26", "26", True), ("26", "27", False), ("20.0", "20.000", True), ("20.0", "20.060", False)],
)  # fmt: skip
def test_numbers_are_the_same_as_far_as_the_shorter_goes(a, b, same):
    assert same_number(a, b) is same
    assert same_number(b, a) is same


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"losses": (1.5816, 2.1898)}, "losses differ by 1e-04"),
        ({"losses": (1.5816, float("nan"))}, "some losses are not finite"),
        ({"losses": (1.5816,)}, "1 steps in place of 2"),
        ({"tested": ("1035", "206", "20.0", "9.3")}, "other correct: "),
        ({"tested": ("1035", "207", "20.00", "9.30")}, ""),
        ({"code": 1, "error": "KeyError: 'a'"}, "exit code 1: KeyError: 'a'"),
        ({"tested": ()}, "it tested nothing"),
    ],
)
def test_what_tells_a_run_from_another_is_said(changes, said):
    found = difference(RUN._replace(**changes), RUN)
    assert found.startswith(said)
    assert bool(found) is bool(said)


def test_tensors_that_were_learned_otherwise_are_named(tmp_path):
    for name, state in {
        "a": {"x": torch.ones(2)},
        "b": {"x": torch.tensor([1, 1 + 2e-7])},
        "c": {"y": torch.ones(2)},
    }.items():
        torch.save({"state_dict": state}, tmp_path / name)
    assert other_tensors(tmp_path / "a", tmp_path / "a") == ""
    assert other_tensors(tmp_path / "a", tmp_path / "b") == "x was learned otherwise"
    assert other_tensors(tmp_path / "a", tmp_path / "c") == "the checkpoint has other tensors"


WELL, CANNOT, UNTRIED = "MPL trains and tests", "MPL cannot run: wilds", "could not be tried: the time was over"


@pytest.mark.parametrize(
    ("said", "happened", "fault"),
    [
        ((0, WELL, CANNOT, False), ("", "it failed"), ""),
        ((0, WELL, WELL, False), ("", "it failed"), "installer: said"),
        ((1, CANNOT, CANNOT, False), ("", "it failed"), "launcher: said"),
        ((1, CANNOT, CANNOT, False), ("it failed", "it failed"), ""),
        ((1, WELL, CANNOT, True), ("", "it failed"), ""),
        ((0, WELL, CANNOT, True), ("", "it failed"), "exit code 0 in place of 1"),
        ((1, WELL, WELL, False), ("", ""), "exit code 1 in place of 0"),
        ((2, UNTRIED, WELL, False), ("", ""), ""),
        ((0, UNTRIED, WELL, False), ("", ""), "exit code 0 in place of 2"),
        ((0, "", WELL, False), ("", ""), "launcher: said ''"),
    ],
)
def test_wrong_verdicts_are_found(said, happened, fault):
    code, launcher, installer, installed = said
    report = f"Dassl     0.6.3\nlauncher  {launcher}\n          -> do this\ninstaller {installer}\n"
    found = row.wrong(row.read_doctor(True, installed, code, report, 3.2), dict(zip(row.WAYS, happened)))
    assert fault in found
    assert bool(found) is bool(fault)


def test_report_without_the_lines_is_wrong():
    said = row.read_doctor(True, False, 0, "MPL can run here\n", 1)
    assert (said.launcher, said.installer) == ("", "")
    assert row.wrong(said, {"launcher": "", "installer": ""})


@pytest.fixture
def desk(tmp_path):
    (tmp_path / "pictures").mkdir()
    return Desk(tmp_path / "desk", tmp_path / "pictures")


def test_program_is_killed_at_a_line_and_when_its_time_is_over(desk, tmp_path):
    program = "import time\nprint('one', flush=True)\nprint('two', flush=True)\ntime.sleep(60)\nprint('three')"
    started = time.monotonic()
    run = desk.run([sys.executable, "-c", program], tmp_path, dict(os.environ), kill_at="two")
    assert (run.code, run.out.split()) == (-9, ["one", "two"])
    late = desk.run([sys.executable, "-c", program], tmp_path, dict(os.environ), seconds=1)
    assert (late.code, late.error) == (-1, "took more than 1 s")
    assert time.monotonic() - started < 30


PROGRAM = """
import sys, time, torch
from pathlib import Path
out = Path(sys.argv[1])
for epoch in range(len([*out.glob("*/model.pth.tar-*")]) + 1, {epochs} + 1):
    for batch in (1, 2):
        print(f"epoch [{{epoch}}/{epochs}] batch [{{batch}}/2] time 0 loss {{epoch}}.{{batch}} (1) lr 1", flush=True)
        time.sleep({seconds})
    path = out / "MultiModalPromptLearner" / f"model.pth.tar-{{epoch}}"
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({{"state_dict": {{"x": torch.full((1,), {learned})}}}}, path)
print("* total: 4\\n* correct: 2\\n* accuracy: 50.0%\\n* macro_f1: 50.0%")
"""


def _visit(desk, tmp_path, seconds=0.2, learned="float(epoch)", epochs=EPOCHS):
    """A visit to a program that goes on after its last epoch, and what is expected of it."""
    visit = object.__new__(row.Visit)
    (tmp_path / "program.py").write_text(PROGRAM.format(epochs=EPOCHS, seconds=seconds, learned=learned))
    (tmp_path / "ours" / "out" / MODEL.format(1)).parent.mkdir(parents=True)
    torch.save({"state_dict": {"x": torch.full((1,), float(EPOCHS))}}, tmp_path / "ours" / "out" / MODEL.format(EPOCHS))
    losses = tuple(float(f"{epoch}.{batch}") for epoch in range(1, epochs + 1) for batch in (1, 2))

    def train(at, way, classes, out, words=(), kill_at=""):
        command = [sys.executable, tmp_path / "program.py", at.folder / out]
        return at.run(command, tmp_path, dict(os.environ), kill_at)

    ours = SimpleNamespace(folder=tmp_path / "ours")
    trained = Run(0, losses, ("4", "2", "50.0", "50.0"))
    visit.bench = SimpleNamespace(train=train, trained=trained, desk=ours)
    visit.desk, visit.way = desk, lambda way, full: None
    visit.host = SimpleNamespace(flags=())
    return visit


@pytest.mark.slow
def test_killed_run_is_started_again_and_held_against_ours(desk, tmp_path):
    assert _visit(desk, tmp_path).resumed("launcher", True) == ""


@pytest.mark.slow
def test_run_that_learns_otherwise_after_a_kill_is_found(desk, tmp_path):
    visit = _visit(desk, tmp_path, learned=f"float(epoch) + (epoch == {EPOCHS})")
    assert visit.resumed("launcher", True) == "x was learned otherwise"


@pytest.mark.slow
def test_run_that_ends_by_itself_was_not_killed(desk, tmp_path, monkeypatch):
    monkeypatch.setattr(row, "KILLED_AT", "a line that nobody prints")
    visit = _visit(desk, tmp_path, seconds=0)
    assert "killed" in visit.resumed("launcher", True)


def test_what_a_program_changed_is_told_and_nothing_else(desk, tmp_path):
    visit, note = _visit(desk, tmp_path), "note: OPTIM.MAX_EPOCH: asked 3 (option), got 100 (changed at train.py:3)"
    checkpoint = desk.folder / "launcher-full" / MODEL.format(EPOCHS)
    checkpoint.parent.mkdir(parents=True)
    torch.save({"state_dict": {"x": torch.full((1,), float(EPOCHS))}}, checkpoint)
    for flags, out, said in (
        ((), "", ""),
        ((), note, "told as changed: ['OPTIM.MAX_EPOCH'] in place of []"),
        ((row.KEEP,), note.replace("note", "kept"), ""),
        ((row.KEEP,), "", "told as changed: [] in place of ['OPTIM.MAX_EPOCH']"),
    ):
        visit.host = SimpleNamespace(flags=flags)
        visit.bench.train = lambda *args, said=out: visit.bench.trained._replace(out=said)
        assert visit.trained("launcher", True) == said


def test_environment_of_a_run_is_not_that_of_the_check(desk, monkeypatch):
    monkeypatch.setenv("PYTHONSTARTUP", "x")
    monkeypatch.setenv("MODPROMPT_KEEP_SETTINGS", "1")
    found = desk.environment([Path("a"), Path("b")], SHOTS="4")
    assert (found["PYTHONPATH"], found["SHOTS"]) == (f"a{os.pathsep}b", "4")
    assert not {"PYTHONSTARTUP", "MODPROMPT_KEEP_SETTINGS"} & {*found}


def test_git_says_what_was_left(tmp_path):
    row.git(tmp_path, "init", "--quiet")
    before = row.git(tmp_path, "status", "--porcelain")
    (tmp_path / "left.txt").write_text("x")
    assert row._changed(before, row.git(tmp_path, "status", "--porcelain")) == "?? left.txt"
