"""The table of a training's steps: each is in it once, whatever was killed, and nothing damaged is read."""

import math
import resource
import signal

import pytest

from modprompt.errors import UserError
from modprompt.io import steps
from modprompt.io.files import sha256_of
from modprompt.io.steps import Row


def rows(first, last):
    """Two steps an epoch."""
    return [Row((at + 1) // 2, at, {"loss": 1 / at}, 1e-05) for at in range(first, last + 1)]


def put(table, more):
    for row in more:
        table.add(row)
    table.write()


def written(folder, last=4):
    folder.mkdir(exist_ok=True)
    table, note = steps.begin(folder, 0)
    assert note == ""
    put(table, rows(1, last))
    return folder / "steps.csv"


def test_columns_are_those_that_were_written(tmp_path):
    table, _ = steps.begin(tmp_path, 0)
    assert steps.read(tmp_path) is None
    put(table, rows(1, 1))
    table.write()  # nothing is new
    table.add(rows(2, 2)[0])
    assert steps.read(tmp_path)["step"] == [1]
    put(table, rows(3, 3))
    assert (tmp_path / "steps.csv").read_text() == (
        "epoch,step,loss,lr\n1,1,1.0,1e-05\n1,2,0.5,1e-05\n2,3,0.3333333333333333,1e-05\n"
    )
    assert steps.read(tmp_path) == {"epoch": [1, 1, 2], "step": [1, 2, 3], "loss": [1, 1 / 2, 1 / 3], "lr": [1e-05] * 3}


def test_a_step_may_say_more_than_the_first_or_less(tmp_path):
    table, _ = steps.begin(tmp_path, 0)
    put(table, [Row(1, 1, {}, 0.1)])
    put(table, [Row(1, 2, {"=gate, b": -math.inf, "lr": 2, "loss": math.nan}, 0.1)])
    put(table, [Row(1, 3, {"loss": 3e20}, 0.1)])
    found = steps.read(tmp_path)
    assert list(found) == ["epoch", "step", "=gate, b", "lr_said", "loss", "lr"]
    assert found["step"] == [1, 2, 3]
    assert [str(value) for value in found["=gate, b"]] == ["nan", "-inf", "nan"]
    assert [str(value) for value in found["lr_said"]] == ["nan", "2.0", "nan"]
    assert [str(value) for value in found["loss"]] == ["nan", "nan", "3e+20"]
    assert "'=gate" in (tmp_path / "steps.csv").read_text()  # no spreadsheet runs it


@pytest.mark.parametrize("new_column", [False, True])
def test_a_failed_write_leaves_the_table_whole_and_the_rows_for_the_next(new_column, tmp_path, monkeypatch):
    """A file may not grow beyond a size, so that a part of the rows is written, as on a disk that is full."""
    path = written(tmp_path)
    before = path.read_bytes()
    table, _ = steps.begin(tmp_path, 2)
    more = [row._replace(said={**row.said, "new": 1.0}) if new_column else row for row in rows(5, 8)]
    bounds, at_bound = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 30, bounds[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            put(table, more)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, bounds)
        signal.signal(signal.SIGXFSZ, at_bound)
    assert path.read_bytes() == before
    put(table, rows(9, 9))
    assert steps.read(tmp_path)["step"] == list(range(1, 10))


@pytest.mark.parametrize("cut", [0, 1, 9])  # characters of the last line
def test_who_goes_on_drops_what_is_behind(cut, tmp_path):
    path = written(tmp_path, 5)
    path.write_text(path.read_text()[: -cut or None])
    assert steps.read(tmp_path)["step"] == [1, 2, 3, 4, 5][: 5 if cut == 0 else 4]
    table, note = steps.begin(tmp_path, 1)
    assert note == ""
    put(table, rows(3, 6))
    found = steps.read(tmp_path)
    assert found["step"] == [1, 2, 3, 4, 5, 6]
    assert found["loss"] == [1 / at for at in range(1, 7)]


def test_the_steps_of_the_run_that_is_gone_on_with_come_along(tmp_path):
    written(tmp_path / "first")
    written(tmp_path / "mine", 6)
    assert steps.begin(tmp_path / "mine", 1, tmp_path / "first")[1] == ""
    assert steps.read(tmp_path / "mine")["step"] == [1, 2]
    assert steps.read(tmp_path / "first")["step"] == [1, 2, 3, 4]
    steps.begin(tmp_path / "mine", 0)  # one from the beginning has none of an earlier one
    assert steps.read(tmp_path / "mine") is None


def test_what_is_missing_is_said(tmp_path):
    table, note = steps.begin(tmp_path, 2)
    assert note.startswith("The steps of the first 2 epochs are not all in steps.csv: ")
    assert note.endswith("steps.csv is not there")
    put(table, rows(5, 6))
    assert steps.read(tmp_path)["step"] == [5, 6]
    assert steps.begin(tmp_path, 4)[1].endswith("steps.csv ends before")
    (tmp_path / "steps.csv").write_text("a,b\n1,2\n")
    assert "is damaged (its lines do not have the same columns" in steps.begin(tmp_path, 2)[1]
    assert not (tmp_path / "steps.csv").exists()


HEAD = "epoch,step,loss,lr\n"


@pytest.mark.parametrize(
    "text",
    [
        "epoch,loss\n1,2\n",
        f"{HEAD}1,1,1.0\n",
        f"{HEAD}1,1,one,1.0\n",
        f"{HEAD},1,1.0,1.0\n",
        f'{HEAD}1,1,"1.0"x,1.0\n',
        b"\xff\xfe\n",
    ],
)
def test_damage_is_a_line(text, tmp_path):
    (tmp_path / "steps.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=r"steps\.csv is damaged \(.+\): delete it") as error:
        steps.read(tmp_path)
    assert "\n" not in str(error.value)


def test_a_changed_number_is_found_by_the_result(tmp_path):
    path = written(tmp_path)
    result = {"steps_hash": sha256_of(path)}
    assert steps.read(tmp_path, result) == steps.read(tmp_path) == steps.read(tmp_path, {})
    path.write_text(path.read_text().replace("0.5", "0.6"))
    assert steps.read(tmp_path)["loss"][1] == 0.6
    with pytest.raises(UserError, match="is damaged, or belongs to another training than its result.json"):
        steps.read(tmp_path, result)


@pytest.mark.parametrize("text", ["", "epoch,st"])
def test_a_table_whose_first_line_is_not_there_yet_has_no_steps(text, tmp_path):
    (tmp_path / "steps.csv").write_text(text)
    assert steps.read(tmp_path) == {"epoch": [], "step": [], "lr": []}
