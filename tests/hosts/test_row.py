import sys
import time
from types import SimpleNamespace

import pytest
import torch

from modprompt.hosts.trial import HOST, LAUNCHER
from modprompt.io.folder import STATE
from tests.hosts import row
from tests.hosts.bench import (
    EPOCHS,
    MODEL,
    Desk,
    Run,
    Way,
    checkpoint,
    difference,
    other_tensors,
    read_run,
    same_number,
)

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


def test_checkpoint_is_found_wherever_a_program_puts_it_but_not_what_is_kept_beside_it(tmp_path):
    kept = tmp_path / "job" / "kept" / MODEL.format(1)
    kept.parent.mkdir(parents=True)
    kept.touch()
    assert checkpoint(tmp_path, 1) is None
    moved = tmp_path / "EuroSAT" / "seed1" / MODEL.format(1)
    moved.parent.mkdir(parents=True)
    moved.touch()
    assert checkpoint(tmp_path, 1) == moved
    assert checkpoint(tmp_path, 2) is None


WELL, CANNOT, UNTRIED = "MPL trains and tests", "MPL cannot run: KeyError: 1", "not tried: time ran out"


@pytest.mark.parametrize(
    ("said", "failed", "fault"),
    [
        ((0, "", WELL, CANNOT), (None, "", "it failed"), ""),
        ((0, "", WELL, WELL), (None, "", "it failed"), "launcher: said"),
        ((1, "", CANNOT, CANNOT), (None, "", "it failed"), "--host: said"),
        ((1, "", CANNOT, CANNOT), (None, "it failed", "it failed"), ""),
        ((1, CANNOT, WELL, WELL), ("it failed", "", ""), ""),
        ((0, CANNOT, WELL, WELL), ("it failed", "", ""), "exit code 0 in place of 1"),
        ((1, "", WELL, WELL), (None, "", ""), "exit code 1 in place of 0"),
        ((2, "", UNTRIED, WELL), (None, "", ""), ""),
        ((0, "", UNTRIED, WELL), (None, "", ""), "exit code 0 in place of 2"),
        ((0, "", WELL, ""), (None, "", ""), "launcher: said 'nothing'"),
    ],
)
def test_wrong_verdicts_are_found(said, failed, fault):
    code, *states = said
    lines = [f"{way:<10}{state}" for way, state in zip(("train.py", HOST, LAUNCHER), states) if state]
    report = "\n".join(["Dassl     0.6.3", *lines, "          -> do this", ""])
    happened = {way: why for way, why in zip(("train.py", HOST, LAUNCHER), failed) if why is not None}
    found = row.wrong(row.read_doctor(code, report, 3.2), happened)
    assert fault in found
    assert bool(found) is bool(fault)


@pytest.fixture
def desk(tmp_path):
    (tmp_path / "pictures").mkdir()
    desk = Desk(tmp_path / "desk", tmp_path / "pictures", sys.executable)
    yield desk
    desk.close()


def test_second_visit_takes_the_pictures_that_are_there(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "link").symlink_to("elsewhere")
    for _ in range(2):
        desk = Desk(tmp_path / "desk", tmp_path / "pictures", sys.executable)
        assert (tmp_path / "desk" / "data" / "link").is_symlink()
        desk.close()


@pytest.fixture
def run(desk, tmp_path):
    def run(text, *words, **more):
        (tmp_path / "program.py").write_text(text)
        return desk.run(["program.py", *words], Way((), tmp_path, (tmp_path / "more",)), tmp_path / "out", **more)

    return run


@pytest.mark.slow
def test_programs_run_as_python_runs_them(run, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "of the caller")
    monkeypatch.setenv("MODPROMPT_KEEP_SETTINGS", "1")
    text = "import os, sys\nprint(sys.argv, __name__, os.getcwd() == sys.path[0], sys.path[1:3], os.environ.get('MODPROMPT_KEEP_SETTINGS'))"
    path = [str(tmp_path / "more"), "of the caller"]
    assert run(text, "a", "b").out.strip() == f"['program.py', 'a', 'b'] __main__ True {path} None"
    assert run("1 / 0").failed == "exit code 1: ZeroDivisionError: division by zero"
    assert run("import sys; sys.exit('error: a mistake')").failed == "exit code 1: error: a mistake"


@pytest.mark.slow
def test_program_is_killed_when_its_epoch_is_saved_and_when_its_time_is_over(run, tmp_path):
    started = time.monotonic()
    late = run("import time; time.sleep(60)", seconds=0.5)
    assert (late.code, late.error) == (-1, "took more than 0 s")
    text = f"import pathlib, time\nprint('one', flush=True)\npathlib.Path('out/run').mkdir(parents=True)\npathlib.Path('out/run/{STATE}').touch()\ntime.sleep(60)"
    done = run(text, until_saved=True)
    assert (done.code, done.out.split()) == (-9, ["one"])
    assert time.monotonic() - started < 50


@pytest.mark.slow
def test_log_of_a_program_that_prints_nowhere_is_read_and_an_older_one_is_not(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "log.txt").write_text(LOG.replace("207", "1"))
    found = run(f"import pathlib\npathlib.Path('out/log.txt-2026').write_text({LOG!r})")
    assert (found.losses, found.tested) == (RUN.losses, RUN.tested)
    assert run("pass").failed == "it tested nothing"


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
    (out / "{state}").touch()
print("* total: 4\\n* correct: 2\\n* accuracy: 50.0%\\n* macro_f1: 50.0%")
"""


@pytest.fixture
def visit(desk, tmp_path):
    """A visit to a program that goes on after its last epoch, and what is expected of it."""

    def visit(seconds=0.3, learned="float(epoch)", state=STATE):
        (tmp_path / "program.py").write_text(
            PROGRAM.format(epochs=EPOCHS, seconds=seconds, learned=learned, state=state)
        )
        found = object.__new__(row.Visit)
        saved = tmp_path / "ours" / "out" / MODEL.format(EPOCHS)
        saved.parent.mkdir(parents=True)
        torch.save({"state_dict": {"x": torch.full((1,), float(EPOCHS))}}, saved)
        losses = tuple(float(f"{epoch}.{batch}") for epoch in range(1, EPOCHS + 1) for batch in (1, 2))
        way = Way((), tmp_path, ())

        def train(at, way, classes, out, more=(), kill=False):
            return at.run(["program.py", at.folder / out], way, at.folder / out, until_saved=kill)

        ours = Run(0, losses, ("4", "2", "50.0", "50.0"))
        found.bench = SimpleNamespace(train=train, trained=ours, desk=SimpleNamespace(folder=tmp_path / "ours"))
        found.desk, found.ways = desk, {HOST: way, LAUNCHER: way}
        found.host = SimpleNamespace(starts_over=False)
        return found

    return visit


@pytest.mark.slow
def test_killed_run_is_started_again_and_held_against_ours(visit):
    assert visit().resumed(LAUNCHER) == ""


@pytest.mark.slow
def test_run_that_learns_otherwise_after_a_kill_is_found(visit):
    assert visit(learned=f"float(epoch) + (epoch == {EPOCHS})").resumed(HOST) == "x was learned otherwise"


@pytest.mark.slow
def test_run_that_goes_on_where_it_should_start_over_is_found(visit):
    found = visit()
    found.host.starts_over = True
    assert found.resumed(LAUNCHER) == "2 steps in place of 4"


@pytest.mark.slow
def test_run_that_saves_nothing_is_not_killed(visit):
    assert visit(seconds=0, state="nothing").resumed(HOST) == "before it was killed: it ended"


def test_what_a_run_told_is_kept_without_folders(tmp_path):
    found = object.__new__(row.Visit)
    found.desk, found.top, found.host = (
        SimpleNamespace(folder=tmp_path / "d"),
        tmp_path / "c",
        SimpleNamespace(checkout="CoOp"),
    )
    out = f"note: OUTPUT_DIR: asked {tmp_path}/d/out\nepoch 1\nnote: no output{tmp_path}/d/out\ntrainers.a of this codebase is left out: it is not there\n{tmp_path}/c has no reader EuroSAT: it is read by ours\n"
    assert found.told(Run(0, out=out)).splitlines() == [
        "note: OUTPUT_DIR: asked out",
        "note: no output/out",
        "trainers.a of this codebase is left out: it is not there",
        "CoOp has no reader EuroSAT: it is read by ours",
    ]
