"""Kept test images against decoded ones: what is counted, and that the sides must agree."""

import pytest

from benchmarks import images
from benchmarks.images import Figures, Round
from tests.process_state import left_as_found


def test_figures_are_medians_and_writing_is_what_the_first_takes_more():
    rounds = [Round([4.0] * 5, [5.0, 1.0, 1.0, 1.0, 1.0]), Round([3.0] * 5, [6.0, 1.0, 1.0, 1.0, 1.0])]
    rounds.append(Round([9.0] * 5, [30.0, 2.0, 2.0, 2.0, 2.0]))
    assert images.figures(rounds) == Figures(decoded=20.0, kept=10.0, one_decoded=4.0, one_kept=1.0, writing=5.0)


def test_table_has_ratios_writing_and_size():
    lines = images.table(Figures(20.0, 10.0, 4.0, 0.5, 5.0), images=1000, size=150_000_000).splitlines()
    assert lines[2] == "| 5 evaluations, the first writes | 20.00 s | 10.00 s | 2.00 |"
    assert lines[3] == "| an evaluation of images that are kept | 4.00 s | 0.50 s | 8.00 |"
    assert lines[4] == "| images per second | 250 | 2000 | |"
    assert lines[5] == "| writing takes more | | 5.00 s | |"
    assert lines[6] == "| on disk | | 143 MiB, 150.0 kB per image | |"
    assert {line.count("|") for line in lines} == {5}


@pytest.fixture
def folder(tmp_path):
    images.prepare(tmp_path, 6)
    return tmp_path


@pytest.mark.slow
@left_as_found()
def test_both_sides_give_one_result_whichever_begins(folder, capsys):
    for first in ("decoded", "kept"):
        found = images.one_round(folder, 0, first)
        assert (len(found.decoded), len(found.kept)) == (images.TIMES, images.TIMES)
        (file,) = (folder / "kept").glob("*.npy")
        assert 6 * 224 * 224 * 3 < file.stat().st_size < 6 * 224 * 224 * 3 + 4096  # all images, and what says of them
    assert capsys.readouterr().out == ""


def test_results_that_differ_are_an_error(folder, monkeypatch):
    monkeypatch.setattr(images, "_evaluations", lambda folder, kept, workers: ([1.0], {50.0 if kept else 60.0}))
    with pytest.raises(RuntimeError, match=r"different results: \[50.0, 60.0\]"):
        images.one_round(folder, 0, "kept")


@pytest.mark.slow
def test_program_prints_its_setting_and_the_table_and_leaves_nothing(tmp_path, capsys):
    assert images.main(["--images", "5", "--rounds", "1", "--workers", "0", "--folder", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("5 JPEGs of 500 x 375, 0 workers, median of 1 rounds; ")
    assert "| 5 evaluations, the first writes |" in said
    assert not list(tmp_path.iterdir())
