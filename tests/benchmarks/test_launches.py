"""The table of launches puts both sides side by side; counting itself is tested in tests/fake_cuda."""

import pytest

from benchmarks import launches
from modprompt.errors import UserError
from tests.fake_cuda.needed import needs_fake_cuda


@pytest.fixture
def asked(monkeypatch):
    """What was counted, and counts of 1000 launches, or 2000 in a checkout."""
    asked = []

    def run(target, method, classes, directory, cast_norms):
        asked.append((method, classes, directory) + ("cast",) * cast_norms)
        forward = {"mm": 600, "add": 100} if not directory else {"mm": 1700}
        waits = {"index by a mask": 1} if directory else {}
        return {"forward": forward, "backward": {"mm": 300}, "waits": waits, "kept_mib": 120.4}

    monkeypatch.setattr(launches.child, "run", run)
    return asked


def test_table_without_a_checkout_has_the_known_counts(asked, capsys):
    assert launches.main(["--only", "MPL", "--classes", "50", "200"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "| MPL, 50 classes | 1000 / 1372 | 0.73 | 0 / 7 | 120 / 963 |"
    assert lines[3].endswith("| 120 / not counted |")
    assert asked == [("MPL", 50, ""), ("MPL", 200, "")]


def test_casts_around_normalisations_are_counted_where_they_are_asked_for(asked):
    assert launches.main(["--only", "MPL", "--classes", "5", "--cast-norms"]) == 0
    assert asked == [("MPL", 5, "", "cast")]


def test_searches_have_a_table_of_their_own(monkeypatch, capsys):
    asked = []

    def run(target, *inputs):
        asked.append((target, *inputs))
        return {"alphas": {"mm": 3, "add": 1}, "prompts": {"mm": 2}, "waits": {}}

    monkeypatch.setattr(launches.child, "run", run)
    assert launches.main(["--searches", "--classes", "5"]) == 0
    assert capsys.readouterr().out.splitlines()[2:] == [
        "| DPLSearch, 5 classes | 4 + 2 | 0 |",
        "| MPL, 5 classes | 4 + 2 | 0 |",
    ]
    assert asked == [("benchmarks.launch_counts:count_search", method, 5) for method in launches.SEARCHES]


def test_no_classes_are_refused_before_anything_is_counted(asked):
    with pytest.raises(SystemExit):
        launches.main(["--classes", "0"])
    assert asked == []


def test_table_of_a_checkout_is_counted_there(asked, capsys, tmp_path):
    assert launches.main(["--classes", "5", "--reference", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2:] == [f"| {name}, 5 classes | 1000 / 2000 | 0.50 | 0 / 1 | 120 / 120 |" for name in launches.METHODS]
    assert {directory for _, _, directory in asked} == {"", str(tmp_path)}


def test_parts_are_by_operation(asked, capsys):
    assert launches.main(["--only", "CoOp", "--classes", "5", "--parts"]) == 0
    out = capsys.readouterr().out
    assert "CoOp, 5 classes: 1000 launches" in out
    assert "| mm | 600 | 300 |\n| add | 100 | 0 |\n| all | 700 | 300 |" in out
    assert "waits: none" in out


def test_what_cannot_be_counted_is_one_line(monkeypatch, capsys):
    def refuse(*_):
        raise UserError("fake CUDA tensors cannot be had: there is no g++")

    monkeypatch.setattr(launches.child, "run", refuse)
    assert launches.main(["--only", "MPL"]) == 2
    assert capsys.readouterr().err == "error: fake CUDA tensors cannot be had: there is no g++\n"


@pytest.mark.slow
@needs_fake_cuda
def test_folder_that_is_no_checkout_is_refused(tmp_path, capsys):
    assert launches.main(["--only", "MPL", "--classes", "5", "--parts", "--reference", str(tmp_path)]) == 2
    assert "there is no trainers/mpl.py" in capsys.readouterr().err
