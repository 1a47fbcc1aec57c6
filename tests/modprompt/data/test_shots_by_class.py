"""DATASET.SHOTS_BY_CLASS: the family's lists with a number of images of each class of its own."""

import random

import pytest

from modprompt.errors import UserError
from tests.modprompt.data import test_readers, trees

NAMES = ("Annual Crop Land", "Forest", "Glacier", "River", "Sea or Lake")  # with 4, 12, 3, 2 and 4 training images
ROWS = list(zip(NAMES, (2, 8, 1, 2, 3)))


@pytest.fixture
def read(tmp_path):
    trees.eurosat(tmp_path)
    test_readers.read("EuroSAT", tmp_path)  # the split is made

    def make(rows, shots=-1, **how):
        table = tmp_path / "shots.csv"
        table.write_text("shots;class\n" + "".join(f"{shots};{name}\n" for name, shots in rows))
        options = ("DATASET.SHOTS_BY_CLASS", str(table), *how.pop("options", ()))
        return test_readers.read("EuroSAT", tmp_path, shots, options=options, **how)

    return make


def paths(*lists):
    return [[(item.impath, item.label) for item in items] for items in lists]


@pytest.mark.parametrize("half", ["all", "base", "new"])
def test_equal_counts_give_the_familys_lists(read, tmp_path, half):
    family = test_readers.read("EuroSAT", tmp_path, 2, half)
    found = read([(name, 2) for name in NAMES], half=half)
    assert paths(found.train_x, found.val) == paths(family.train_x, family.val)


def test_lists_are_those_of_a_plain_loop_and_kept_under_a_name_of_their_own(read, tmp_path, capsys):
    whole, drawn = test_readers.read("EuroSAT", tmp_path), ([], [])
    random.seed(1)
    for few, images, most in zip(drawn, (whole.train_x, whole.val), (99, 4)):
        for label, (_, number) in enumerate(ROWS):
            own, number = [one for one in images if one.label == label], min(number, most)
            few += random.sample(own, number) if len(own) >= number else own
    state = random.getstate()
    found = read(ROWS, seed=1)
    assert paths(found.train_x, found.val) == paths(*drawn)
    assert random.getstate() == state
    assert found.notes == ["shots by class: 1 to 8, 3.2 on average"]
    lists = tmp_path / "eurosat" / "split_fewshot"
    assert [path.name for path in lists.glob("*.json")] == [f"shots_{found.shots_hash[:12]}-seed_1.json"]
    assert paths(read(ROWS, seed=1, draw=77).train_x) == paths(found.train_x)
    assert "Loading the few-shot lists" in capsys.readouterr().out
    read([*ROWS[1:], ("annual_crop land", 1)], seed=1)
    assert len(list(lists.glob("*.json"))) == 2


@pytest.mark.parametrize(
    ("rows", "how", "why"),
    [
        (
            ROWS,
            {"shots": 4},
            "shots.csv and DATASET.NUM_SHOTS 4 cannot be used together. Remove one of the two settings.",
        ),
        (ROWS[:3], {}, "shots.csv has no line for the classes 'River', 'Sea or Lake'. Add a line for each class."),
        ([*ROWS, ("Foresd", 1)], {}, "shots.csv, line 7: unknown class 'Foresd'. Did you mean 'Forest'?"),
        (
            [*ROWS, ("forest", 1)],
            {},
            "shots.csv, line 7 repeats the class 'Forest' of line 3. Remove one of the two lines.",
        ),
        (
            [("River", 3), *ROWS],
            {},
            "shots.csv, line 2 requests 3 shots of the class 'River', which has only 2 training images.",
        ),
        ([("River", "1.5"), *ROWS], {}, "line 2: the column `shots` must be a whole number of at least 1, got '1.5'"),
        (ROWS, {"options": ("DATASET.SHOTS_BY_CLASS", "gone.csv")}, "gone.csv: the file cannot be read"),
    ],
)
def test_a_table_that_does_not_fit_is_one_line(read, rows, how, why):
    with pytest.raises(UserError, match=f"^DATASET.SHOTS_BY_CLASS [^\\n]*{why}"):
        read(rows, **how)
