"""The table of launches: both sides side by side, and a step that launches no more than its ceiling."""

import pytest

from benchmarks import launches
from modprompt.errors import UserError
from tests.fake_cuda.needed import needs_fake_cuda

KEPT = 0.1  # of what the official code keeps for the backward pass at 1000 classes


@pytest.fixture
def asked(monkeypatch):
    """What was counted; counts of 1000 launches, or 2000 in a checkout, and of an alternation."""
    asked = []

    def run(target, method, classes, directory="", cast_norms=False):
        asked.append((target.partition(":")[2], method, classes, directory, cast_norms))
        if target.endswith("count_search"):
            return {"alphas": {"mm": 3, "add": 1}, "prompts": {"mm": 2}, "waits": {}}
        forward = {"mm": 600, "add": 100} if not directory else {"mm": 1700}
        waits = {"index by a mask": 1} if directory else {}
        return {"forward": forward, "backward": {"mm": 300}, "waits": waits, "kept_mib": 120.4}

    monkeypatch.setattr(launches.child, "run", run)
    return asked


def test_table_without_a_checkout_has_the_known_counts(asked, capsys):
    assert launches.main(["--only", "MPL", "--classes", "50", "200", "--cast-norms"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "| MPL, 50 classes | 1000 / 1372 | 0.73 | 0 / 7 | 120 / 963 |"
    assert lines[3].endswith("| 120 / not counted |")
    assert asked == [("count", "MPL", 50, "", True), ("count", "MPL", 200, "", True)]


def test_table_of_a_checkout_is_counted_there(asked, capsys, tmp_path):
    assert launches.main(["--classes", "5", "--reference", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:] == [f"| {name}, 5 classes | 1000 / 2000 | 0.50 | 0 / 1 | 120 / 120 |" for name in launches.METHODS]
    assert {directory for *_, directory, _ in asked} == {"", str(tmp_path)}


def test_searches_have_a_table_of_their_own_and_parts_are_by_operation(asked, capsys):
    assert launches.main(["--searches", "--classes", "5"]) == 0
    rows = [f"| {method}, 5 classes | 4 + 2 | 0 |" for method in launches.SEARCHES]
    assert capsys.readouterr().out.splitlines()[2:] == rows
    assert launches.main(["--only", "CoOp", "--classes", "5", "--parts"]) == 0
    out = capsys.readouterr().out
    assert "CoOp, 5 classes: 1000 launches" in out
    assert "| mm | 600 | 300 |\n| add | 100 | 0 |\n| all | 700 | 300 |" in out
    assert "waits: none" in out


def test_what_cannot_be_counted_is_one_line(monkeypatch, asked, capsys):
    with pytest.raises(SystemExit):
        launches.main(["--classes", "0"])
    assert asked == []

    def refuse(*_):
        raise UserError("there is no g++")

    capsys.readouterr()
    monkeypatch.setattr(launches.child, "run", refuse)
    assert launches.main(["--only", "MPL"]) == 2
    assert capsys.readouterr().err == "error: there is no g++\n"


@pytest.mark.slow
@needs_fake_cuda
@pytest.mark.parametrize(("method", "most"), [("MPL", 862), ("MaPLe", 847), ("CoOp", 561)])  # 0.64 of the official code
def test_a_step_launches_no_more_than_its_ceiling_and_does_not_wait(method, most):
    few, many = (launches.counted(method, classes) for classes in (5, 1000))
    assert max(few.launches, many.launches) <= most
    assert (few.waits, many.waits) == ({}, {})
    assert many.kept_mib < KEPT * launches.OFFICIAL_KEPT_MIB["MPL", 1000]


@pytest.mark.slow
@needs_fake_cuda
@pytest.mark.parametrize(("method", "most"), [("DPLSearch", 5059), ("MPL", 2762)])
def test_an_alternation_launches_no_more_than_its_ceiling_and_does_not_wait(method, most):
    found = launches.searched(method, 1000)
    assert sum(found.alphas.values()) + sum(found.prompts.values()) <= most
    assert found.waits == {}


@pytest.mark.slow
@needs_fake_cuda
def test_folder_that_is_no_checkout_is_refused(tmp_path, capsys):
    assert launches.main(["--only", "MPL", "--classes", "5", "--parts", "--reference", str(tmp_path)]) == 2
    assert "because trainers/mpl.py is missing" in capsys.readouterr().err
