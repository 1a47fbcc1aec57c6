"""The files of a test: what is written is read, and nothing that is damaged, lost or of another test."""

import csv
import subprocess
import sys

import numpy as np
import pytest

from modprompt.errors import UserError
from modprompt.io import test_parts
from modprompt.io.files import sha256_of

NAMES = ["forest", "=sea, lake", "r\u00edo"]


def parts(names=NAMES):
    confusion = np.array([[3, 1, 0], [0, 2, 0], [0, 1, 0]])
    calibration = np.zeros((test_parts.BINS, 3))
    calibration[9] = [7, 0.62, 5 / 7]
    wrong = [
        test_parts.Wrong("forest/1.jpg", 0, (1, 0, 2), (0.6, 0.3, 0.1), 0.3),
        test_parts.Wrong("r\udcff/2.jpg", 2, (1, 2, 0), (0.7, 0.2, 0.1), 0.2),  # a name on a disk that is no UTF-8
    ]
    return test_parts.TestParts(names, confusion, calibration, wrong)


def rows(path):
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


def test_what_is_written_is_read(tmp_path):
    written = parts()
    hashes = test_parts.write(tmp_path, written)
    found = test_parts.read(tmp_path, {"test_files": hashes})
    assert found.names == written.names
    assert found.wrong == written.wrong
    assert (found.confusion == written.confusion).all()
    assert (found.calibration == written.calibration).all()
    assert hashes == {name: sha256_of(tmp_path / "test" / name) for name in test_parts.NAMES}
    assert test_parts.write(tmp_path, written) == hashes  # the same test, the same bytes


def test_tables_are_for_people(tmp_path):
    test_parts.write(tmp_path, parts())
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
    hashes = test_parts.write(tmp_path, none)
    found = test_parts.read(tmp_path, {"test_files": hashes})
    assert found.wrong == []
    assert rows(tmp_path / "test" / "classes.csv")[-1] == ["2", "r\u00edo", "0", "0", ""]
    assert rows(tmp_path / "test" / "wrong.csv") == [["image", "class", "probability"]]


@pytest.mark.parametrize("result", [{}, {"test_files": None}, {"test_files": {}}])
def test_a_run_that_has_none(result, tmp_path):
    test_parts.write(tmp_path, parts())  # of an earlier test
    assert test_parts.read(tmp_path, result) is None


def refusal(folder, hashes):
    with pytest.raises(UserError) as error:
        test_parts.read(folder, {"test_files": hashes})
    assert "\n" not in str(error.value)
    assert str(folder / "test" / "test.npz") in str(error.value)
    return str(error.value)


def test_of_another_test_or_lost(tmp_path):
    hashes = test_parts.write(tmp_path, parts())
    path = tmp_path / "test" / "test.npz"
    test_parts.write(tmp_path, parts(["a", "b", "c"]))
    assert "is damaged, or belongs to another test than its result.json: test again" in refusal(tmp_path, hashes)
    path.unlink()
    assert "is gone, which result.json names: test again" in refusal(tmp_path, hashes)


def test_files_of_an_earlier_test_go_and_those_of_others_stay(tmp_path):
    test_parts.remove(tmp_path)  # there is nothing
    test_parts.write(tmp_path, parts())
    (tmp_path / "test" / "notes.txt").write_text("mine")
    test_parts.remove(tmp_path)
    assert [path.name for path in (tmp_path / "test").iterdir()] == ["notes.txt"]


def test_who_reads_results_alone_imports_no_numpy():
    code = "import sys; import modprompt.io.test_parts, modprompt.io.steps; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
