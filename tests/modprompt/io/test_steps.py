"""The table of a training's steps: each stands in it once, whatever was killed, and nothing damaged is read."""

import math

import pytest

from modprompt.errors import UserError
from modprompt.io import steps
from modprompt.io.steps import Row
from modprompt.io.text import sha256_of


def rows(first, last, **more):
    """Two steps an epoch."""
    return [Row((at + 1) // 2, at, {"loss": 1 / at, **more}, 1e-05) for at in range(first, last + 1)]


def put(table, more):
    for row in more:
        table.add(row)
    table.write()


def written(folder, last=4):
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
    found = steps.read(tmp_path)
    assert list(found) == ["epoch", "step", "loss", "lr"]
    assert found["epoch"] == [1, 1, 2]
    assert found["step"] == [1, 2, 3]
    assert found["loss"] == [1, 1 / 2, 1 / 3]  # to the last bit
    assert found["lr"] == [1e-05] * 3


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
    assert found["epoch"] == [1, 1, 2, 2, 3, 3]
    assert found["loss"] == [1 / at for at in range(1, 7)]


def test_the_steps_of_the_run_that_is_gone_on_with_come_along(tmp_path):
    (tmp_path / "first").mkdir()
    written(tmp_path / "first")
    (tmp_path / "mine").mkdir()
    written(tmp_path / "mine", 6)
    _, note = steps.begin(tmp_path / "mine", 1, tmp_path / "first")
    assert note == ""
    assert steps.read(tmp_path / "mine")["step"] == [1, 2]
    assert steps.read(tmp_path / "first")["step"] == [1, 2, 3, 4]


def test_a_run_from_the_beginning_has_no_steps_of_an_earlier_one(tmp_path):
    path = written(tmp_path)
    steps.begin(tmp_path, 0)
    assert not path.exists()


def test_what_is_missing_is_said(tmp_path):
    table, note = steps.begin(tmp_path, 2)
    assert note.startswith("The steps of the first 2 epochs are not all in steps.csv: ")
    assert note.endswith("steps.csv is not there")
    put(table, rows(5, 6))
    assert steps.read(tmp_path)["step"] == [5, 6]
    assert steps.begin(tmp_path, 4)[1].endswith("steps.csv ends before")
    (tmp_path / "steps.csv").write_text("a,b\n1,2\n")
    assert "is damaged (its first line does not name the columns)" in steps.begin(tmp_path, 2)[1]
    assert not (tmp_path / "steps.csv").exists()


@pytest.mark.parametrize(
    "text",
    [
        "epoch,loss\n1,2\n",
        "epoch,step,loss,loss,lr\n1,1,1.0,1.0,1.0\n",
        "epoch,step,loss,lr\n1,1,1.0\n",
        "epoch,step,loss,lr\n1,1,one,1.0\n",
        "epoch,step,loss,lr\n1,1,1_0,1.0\n",
        "epoch,step,loss,lr\n1,0,1.0,1.0\n",
        "epoch,step,loss,lr\n1,1,1.0,1.0\n1,1,1.0,1.0\n",  # a step twice
        "epoch,step,loss,lr\n1,1,1.0,1.0\n1,3,1.0,1.0\n",
        "epoch,step,loss,lr\n2,1,1.0,1.0\n1,2,1.0,1.0\n",
        'epoch,step,loss,lr\n1,1,"1.0"x,1.0\n',
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
