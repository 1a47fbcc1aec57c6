"""What is made of the record of a run: each line of the report, and its exit code."""

from pathlib import Path

import pytest

from modprompt.hosts.trial.verdict import CANNOT, UNTRIED, WELL, Ran, judge

DONE = ["build_data_loader", "build_model", "__init__", "test", "train"]


def ran(code=0, way="launcher", said="", made_up=False, unknown=(), folder="/host", **seen):
    return Ran(way, Path(folder), Path("/made_up"), code, seen, said, made_up, unknown)


def failed(kind, text, part, at="__init__", *, code=1, where="/host/clip/model.py:7", module="", file="", **more):
    error = {"type": kind, "text": text, "where": where, "part": part, "module": module, "file": file}
    return ran(code, at=at, error=error, **more)


def trained(**more):
    return ran(**{"at": "test", "steps": 1, "done": DONE, **more})


def evaluated(**more):
    return ran(at="test", **{"done": ["load_model", "test"], **more})


def test_what_trained_and_tested_is_well():
    assert judge(trained(), evaluated(), None) == ("MPL trains and tests", [], WELL)
    assert judge(trained(), None, None).code == WELL
    assert judge(trained(done=["test"]), None, None).code == WELL  # a program may end inside train, once it has tested


def test_checkpoint_that_a_program_does_without_is_no_fault_of_a_training():
    went_on = failed("UserError", "no checkpoint", "load_model", "test", code=0, steps=1, done=DONE)
    assert judge(went_on, None, None).code == WELL
    untrained = failed("UserError", "no checkpoint", "load_model", "test", code=0, done=["test"])
    assert judge(trained(), untrained, None).code == CANNOT


def test_a_run_without_a_step_or_without_a_test_proves_nothing():
    for run, lacks in ((trained(steps=0), "trained"), (trained(done=["train"]), "tested")):
        verdict = judge(run, None, None)
        assert verdict == (f"could not be tried: train.py ended without having {lacks}", [], UNTRIED)


def test_an_evaluation_that_fails_is_a_failure_and_says_why():
    broken = failed("TypeError", "load_model() got 2", "load_model", where="/host/train.py:9")
    verdict = judge(trained(), broken, None)
    why = "MPL cannot run: it trains and tests, but --eval-only does not: TypeError: load_model() got 2 (train.py:9)"
    assert verdict == (why, [], CANNOT)


def test_an_evaluation_that_loads_nothing_is_told():
    verdict = judge(trained(), evaluated(done=["test"]), None)
    assert verdict.code == WELL
    assert "loads no checkpoint" in verdict.advice[0]
    assert "no time" in judge(trained(), evaluated(code=None), None).advice[0]


@pytest.mark.parametrize(
    ("run", "state"),
    [
        (
            failed("AssertionError", "no design", "build_model"),
            "when its model is built: AssertionError: no design (clip/model.py:7)",
        ),
        (failed("UserError", "it lost\nweights", "build_model"), "when its model is built: it lost weights"),
        (
            failed("IndexError", "Target 21 is out of bounds.", "train", "train"),
            "when it trains: IndexError: Target 21 is out of bounds. (clip/model.py:7)",
        ),
        (
            failed("ImportError", "no name", "program", "program", where="/a/b/site-packages/x/y.py:3"),
            "train.py does not get to its trainer: ImportError: no name (site-packages/x/y.py:3)",
        ),
        (
            failed("AssertionError", "Torch not compiled with CUDA enabled", "program", "program"),
            "train.py does not get to its trainer: AssertionError: Torch not compiled with CUDA enabled "
            "(clip/model.py:7)",
        ),
        (
            ran(2, at="program", said="warning: x\nerror: no Dassl here\n"),
            "train.py does not get to its trainer: no Dassl here",
        ),
        (ran(-11, at="program"), "train.py does not get to its trainer: it was ended by signal 11"),
        (
            failed("ZeroDivisionError", "x", "program", "test", steps=1, done=DONE, where="/host/train.py:3"),
            "it trains and tests, but then train.py ends with ZeroDivisionError: x (train.py:3)",
        ),
    ],
)
def test_it_cannot_run(run, state):
    assert judge(run, None, None)[::2] == (f"MPL cannot run: {state}", CANNOT)


@pytest.mark.parametrize(
    ("run", "state"),
    [
        (ran(None, at="program"), "the time is over (before it builds a trainer)"),
        (ran(None, at="train"), "the time is over (when it trains)"),
        (ran(0, at="program"), "train.py ended without building a trainer"),
        (
            failed("SystemExit", "2", "program", "program", code=2, said="usage: x\ntrain.py: error: needs --key"),
            "train.py stops before it builds a trainer: needs --key",
        ),
        (
            failed("SystemExit", "2", "program", "program", code=2, said="train.py: error: --key", unknown=("--key",)),
            "train.py asks for --key, of unknown value: --key",
        ),
        (
            failed("ValueError", "'X' is not in list", "program", "program", where="/host/train.py:3"),
            "train.py stops before it builds a trainer: ValueError: 'X' is not in list (train.py:3)",
        ),
        (
            failed("FileNotFoundError", "/made_up/data/x.jpg", "train", "train", where=""),
            "the codebase does not take the made-up pictures: FileNotFoundError: TEMP/data/x.jpg",
        ),
        (
            failed("KeyError", "'a'", "build_data_loader", made_up=True, where=""),
            "the codebase reads other data than its config names, which are not here: KeyError: 'a'",
        ),
    ],
)
def test_it_could_not_be_tried(run, state):
    assert judge(run, None, None)[::2] == (f"could not be tried: {state}", UNTRIED)


def test_data_that_fail_on_our_own_set_are_the_codebases_fault():
    run = failed("AttributeError", "np.int", "build_data_loader", made_up=True, done=["ModpromptTrial"])
    assert judge(run, None, None).code == CANNOT
    assert not run.stops_in_its_reader


def test_a_reader_that_stops_is_told_where_all_else_is_well():
    reader = failed("KeyError", "'a'", "build_data_loader")
    assert reader.stops_in_its_reader
    verdict = judge(trained(made_up=True), evaluated(), reader)
    assert verdict.code == WELL
    assert "reader of EuroSAT stopped on made-up pictures, KeyError: 'a'" in verdict.advice[0]


@pytest.mark.parametrize("way", ["launcher", "installer"])
def test_all_missing_packages_come_in_one_command(way):
    lacks = {"wilds": "/dassl/x.py", "ot": "/host/trainers/a.py"}
    verdict = judge(trained(way=way, missing=lacks), evaluated(), None)
    assert verdict.state == "MPL cannot run: not installed: ot, wilds"
    assert verdict.code == CANNOT
    assert verdict.advice[0] == "pip install POT wilds"
    assert ("or use the launcher, which does without wilds" in verdict.advice) == (way == "installer")
    assert verdict.advice[-1] == "with empty ones in their place: MPL trains and tests"


def test_what_an_empty_package_has_caused_is_not_told_as_a_fault():
    run = failed("TypeError", "not '_Empty'", "build_model", missing={"ftfy": "/host/clip/x.py"})
    verdict = judge(run, None, None)
    assert verdict.advice == [
        "pip install ftfy",
        "with an empty one in its place the run ends early: ask again once they are there",
    ]


def test_a_module_that_is_no_package_is_named_with_its_importer():
    verdict = judge(trained(missing={"my_files": "/host/train.py"}), None, None)
    assert "my_files, imported by train.py, is no package that is known here" in verdict.advice
    assert not any("pip" in line for line in verdict.advice)


def test_a_file_that_the_codebase_lacks_is_no_package(tmp_path):
    (tmp_path / "trainers").mkdir()
    error = {"where": f"{tmp_path}/trainers/dpc.py:3", "module": "trainers.base", "folder": str(tmp_path)}
    run = failed("ModuleNotFoundError", "No module", "program", "program", **error)
    lacks = "MPL cannot run: the codebase lacks its own trainers.base, which trainers/dpc.py:3 imports"
    assert judge(run, None, None) == (lacks, [], CANNOT)
    (tmp_path / "trainers" / "base.py").touch()
    assert "another trainers than the codebase's own comes first on the path" in judge(run, None, None).state
