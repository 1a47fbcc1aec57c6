"""The case of an ImageNet's start, on a small tree."""

import re

import pytest

from benchmarks import imagenet_start, startup
from benchmarks.imagenet_start import Size, Start, make_tree, rows


def test_tree_is_of_the_size_asked_for(tmp_path):
    assert make_tree(tmp_path, Size(3, 20, 5)) == 75
    assert len(list((tmp_path / "imagenet/images/train").glob("*/*.JPEG"))) == 60
    assert len((tmp_path / "imagenet/classnames.txt").read_text().splitlines()) == 3


@pytest.mark.slow
def test_rows_say_seconds_and_memory_of_real_starts(tmp_path):
    said = list(rows(tmp_path, Size(4, 20, 3), repeats=1))
    assert said[0].startswith("a tree of 92 empty files")
    assert all(re.search(r": \d+\.\d\d s \(\d+\.\d\d s of a processor\), \d+ MB$", row) for row in said[1:3])
    assert said[3].startswith("the lists are those of a first start")
    assert (tmp_path / "imagenet/preprocessed.pkl").is_file()


def test_start_with_other_lists_is_an_error(tmp_path, monkeypatch):
    numbers = iter(range(99))

    monkeypatch.setattr(imagenet_start, "start", lambda root, seed: Start(1.0, 1.0, 1.0, str(next(numbers))))
    with pytest.raises(RuntimeError, match="other lists than the first"):
        list(rows(tmp_path, Size(2, 20, 1), repeats=2))


@pytest.mark.slow
def test_start_that_fails_says_why(tmp_path):
    with pytest.raises(RuntimeError, match="there is no .*imagenet"):
        imagenet_start.start(tmp_path, 1)


def test_cases_are_chosen_by_name(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(
        startup, "CASES", {name: lambda at, name=name: print(name, at.parent) for name in startup.CASES}
    )
    assert startup.main(["--only", "imagenet", "--folder", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"imagenet {tmp_path}\n"
    assert startup.main(["--folder", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"step {tmp_path}\nimagenet {tmp_path}\n"
