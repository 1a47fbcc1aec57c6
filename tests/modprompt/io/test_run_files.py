"""What a run leaves besides its result: each step once, whatever was killed; nothing damaged or of another is read."""

import csv
import math
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest

from modprompt.errors import UserError
from modprompt.io import run_files
from modprompt.io.files import sha256_of
from tests.conftest import one_line


def step_rows(first, last):
    """Two steps an epoch."""
    return [((at + 1) // 2, at, {"loss": 1 / at}, 1e-05) for at in range(first, last + 1)]


def put(table, more):
    for row in more:
        table.add(*row)
    table.write()


def written(folder, last=4):
    folder.mkdir(exist_ok=True)
    table, note = run_files.begin_steps(folder, 0)
    assert note == ""
    put(table, step_rows(1, last))
    return folder / "steps.csv"


def test_columns_are_those_that_were_written(tmp_path):
    table, _ = run_files.begin_steps(tmp_path, 0)
    assert run_files.read_steps(tmp_path) is None
    put(table, step_rows(1, 1))
    table.write()  # nothing is new
    table.add(*step_rows(2, 2)[0])
    assert run_files.read_steps(tmp_path)["step"] == [1]
    put(table, step_rows(3, 3))
    lines = "epoch,step,loss,lr\n1,1,1.0,1e-05\n1,2,0.5,1e-05\n2,3,0.3333333333333333,1e-05\n"
    assert (tmp_path / "steps.csv").read_text() == lines
    columns = {"epoch": [1, 1, 2], "step": [1, 2, 3], "loss": [1, 1 / 2, 1 / 3], "lr": [1e-05] * 3}
    assert run_files.read_steps(tmp_path) == columns


def test_a_step_may_say_more_than_the_first_or_less(tmp_path):
    table, _ = run_files.begin_steps(tmp_path, 0)
    put(table, [(1, 1, {}, 0.1)])
    put(table, [(1, 2, {"=gate, b": -math.inf, "lr": 2, "loss": math.nan}, 0.1)])
    put(table, [(1, 3, {"loss": 3e20}, 0.1)])
    found = run_files.read_steps(tmp_path)
    assert list(found) == ["epoch", "step", "=gate, b", "lr_said", "loss", "lr"]
    assert found["step"] == [1, 2, 3]
    assert [str(value) for value in found["=gate, b"]] == ["nan", "-inf", "nan"]
    assert [str(value) for value in found["lr_said"]] == ["nan", "2.0", "nan"]
    assert [str(value) for value in found["loss"]] == ["nan", "nan", "3e+20"]
    assert "'=gate" in (tmp_path / "steps.csv").read_text()  # no spreadsheet runs it


@pytest.mark.parametrize("new_column", [False, True])
def test_a_failed_write_leaves_the_table_whole_and_the_rows_for_the_next(new_column, tmp_path):
    """A file may not grow beyond a size, so that a part of the rows is written, as on a disk that is full."""
    path = written(tmp_path)
    before = path.read_bytes()
    table, _ = run_files.begin_steps(tmp_path, 2)
    more = [(*row[:2], {**row[2], "new": 1.0}, row[3]) if new_column else row for row in step_rows(5, 8)]
    bounds, at_bound = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 30, bounds[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            put(table, more)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, bounds)
        signal.signal(signal.SIGXFSZ, at_bound)
    assert path.read_bytes() == before
    put(table, step_rows(9, 9))
    assert run_files.read_steps(tmp_path)["step"] == list(range(1, 10))


@pytest.mark.parametrize("cut", [0, 1, 9])  # characters of the last line
def test_who_goes_on_drops_what_is_behind(cut, tmp_path):
    path = written(tmp_path, 5)
    path.write_text(path.read_text()[: -cut or None])
    assert run_files.read_steps(tmp_path)["step"] == [1, 2, 3, 4, 5][: 5 if cut == 0 else 4]
    table, note = run_files.begin_steps(tmp_path, 1)
    assert note == ""
    put(table, step_rows(3, 6))
    found = run_files.read_steps(tmp_path)
    assert found["step"] == [1, 2, 3, 4, 5, 6]
    assert found["loss"] == [1 / at for at in range(1, 7)]


def test_the_steps_of_the_run_that_is_gone_on_with_come_along(tmp_path):
    written(tmp_path / "first")
    written(tmp_path / "mine", 6)
    assert run_files.begin_steps(tmp_path / "mine", 1, tmp_path / "first")[1] == ""
    assert run_files.read_steps(tmp_path / "mine")["step"] == [1, 2]
    assert run_files.read_steps(tmp_path / "first")["step"] == [1, 2, 3, 4]
    run_files.begin_steps(tmp_path / "mine", 0)  # one from the beginning has none of an earlier one
    assert run_files.read_steps(tmp_path / "mine") is None


def test_what_is_missing_is_said(tmp_path):
    table, note = run_files.begin_steps(tmp_path, 2)
    assert note.startswith("note: steps.csv does not contain all steps of epochs 1 to 2. Reason: ")
    assert note.endswith("steps.csv does not exist.")
    put(table, step_rows(5, 6))
    assert run_files.read_steps(tmp_path)["step"] == [5, 6]
    assert run_files.begin_steps(tmp_path, 4)[1].endswith("steps.csv ends earlier.")
    (tmp_path / "steps.csv").write_text("a,b\n1,2\n")
    assert (
        "is damaged (the first columns of each row must be epoch and step, and the last column must be lr"
        in run_files.begin_steps(tmp_path, 2)[1]
    )
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
    with one_line(r"steps\.csv is damaged \(.+\)\. Delete the file"):
        run_files.read_steps(tmp_path)


def test_a_changed_number_is_found_by_the_result(tmp_path):
    path = written(tmp_path)
    result = {"steps_hash": sha256_of(path)}
    steps = run_files.read_steps(tmp_path)
    assert steps == run_files.read_steps(tmp_path, result) == run_files.read_steps(tmp_path, {})
    path.write_text(path.read_text().replace("0.5", "0.6"))
    assert run_files.read_steps(tmp_path)["loss"][1] == 0.6
    with pytest.raises(UserError, match="is damaged, or comes from a different training run than result.json"):
        run_files.read_steps(tmp_path, result)


@pytest.mark.parametrize("text", ["", "epoch,st"])
def test_a_table_whose_first_line_is_not_there_yet_has_no_steps(text, tmp_path):
    (tmp_path / "steps.csv").write_text(text)
    assert run_files.read_steps(tmp_path) == {"epoch": [], "step": [], "lr": []}


# ---------------------------------------------------------------------- what a test says

NAMES = ["forest", "=sea, lake", "r\u00edo"]


def parts(names=NAMES):
    confusion = np.array([[3, 1, 0], [0, 2, 0], [0, 1, 0]])
    calibration = np.zeros((run_files.BINS, 3))
    calibration[9] = [7, 0.62, 5 / 7]
    wrong = [
        run_files.Wrong("forest/1.jpg", 0, (1, 0, 2), (0.6, 0.3, 0.1), 0.3),
        run_files.Wrong("r\udcff/2.jpg", 2, (1, 2, 0), (0.7, 0.2, 0.1), 0.2),  # a name on a disk that is no UTF-8
    ]
    return run_files.TestParts(names, confusion, calibration, wrong)


def rows(path):
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


def test_what_a_test_says_is_read(tmp_path):
    written = parts()
    hashes = run_files.write_test(tmp_path, written)
    found = run_files.read_test(tmp_path, {"test_files": hashes})
    assert found.names == written.names
    assert found.wrong == written.wrong
    assert (found.confusion == written.confusion).all()
    assert (found.calibration == written.calibration).all()
    assert hashes == {name: sha256_of(tmp_path / "test" / name) for name in run_files.OF_TEST[:4]}
    assert run_files.write_test(tmp_path, written) == hashes  # the same test, the same bytes


def test_tables_are_for_people(tmp_path):
    run_files.write_test(tmp_path, parts())
    assert rows(tmp_path / "test" / "classes.csv") == [
        ["label", "class", "images", "correct", "accuracy_pct"],
        ["0", "forest", "4", "3", "75.0000"],
        ["1", "'=sea, lake", "2", "2", "100.0000"],
        ["2", "r\u00edo", "1", "0", "0.0000"],
    ]
    assert rows(tmp_path / "test" / "confusion.csv")[1:] == [
        ["forest", "forest", "3"],
        ["forest", "'=sea, lake", "1"],
        ["'=sea, lake", "'=sea, lake", "2"],
        ["r\u00edo", "'=sea, lake", "1"],
    ]
    wrong = rows(tmp_path / "test" / "wrong.csv")
    assert wrong[0][:5] == ["image", "class", "probability", "class_1", "probability_1"]
    top = ["'=sea, lake", "0.600000", "forest", "0.300000", "r\u00edo", "0.100000"]
    assert wrong[1] == ["forest/1.jpg", "forest", "0.300000", *top]
    assert wrong[2][0] == "r\\udcff/2.jpg"


def test_nothing_wrong_and_a_class_without_images(tmp_path):
    none = parts()._replace(confusion=np.diag([3, 2, 0]), wrong=[])
    hashes = run_files.write_test(tmp_path, none)
    found = run_files.read_test(tmp_path, {"test_files": hashes})
    assert found.wrong == []
    assert rows(tmp_path / "test" / "classes.csv")[-1] == ["2", "r\u00edo", "0", "0", ""]
    assert rows(tmp_path / "test" / "wrong.csv") == [["image", "class", "probability"]]


def test_a_run_that_has_none(tmp_path):
    run_files.write_test(tmp_path, parts())  # of an earlier test
    assert run_files.read_test(tmp_path, {"test_files": {}}) is run_files.read_test(tmp_path, {}) is None


def refusal(folder, hashes):
    with pytest.raises(UserError) as error:
        run_files.read_test(folder, {"test_files": hashes})
    assert "\n" not in str(error.value)
    assert str(folder / "test" / "test.npz") in str(error.value)
    return str(error.value)


def test_of_another_test_or_lost(tmp_path):
    hashes = run_files.write_test(tmp_path, parts())
    path = tmp_path / "test" / "test.npz"
    run_files.write_test(tmp_path, parts(["a", "b", "c"]))
    assert "is damaged, or comes from a different test run than result.json. Run the test again" in refusal(
        tmp_path, hashes
    )
    path.unlink()
    assert "is missing, although result.json lists this file. Run the test again" in refusal(tmp_path, hashes)


def test_files_of_an_earlier_test_go_and_those_of_others_stay(tmp_path):
    run_files.remove_test(tmp_path)  # there is nothing
    run_files.write_test(tmp_path, parts())
    (tmp_path / "test" / "notes.txt").write_text("mine")
    run_files.remove_test(tmp_path)
    assert [path.name for path in (tmp_path / "test").iterdir()] == ["notes.txt"]


def test_who_reads_results_alone_imports_no_numpy():
    code = "import sys; import modprompt.io.run_files; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
