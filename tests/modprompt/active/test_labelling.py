"""Labels come from the data set or from people, and a run that lacks some waits without losing any."""

import json

import pytest

from modprompt.active import labelling
from modprompt.active.labelling import Labelling
from modprompt.active.picks_file import Picked
from modprompt.active.pool import Pool
from modprompt.active.record import Round
from modprompt.errors import UserError, WaitsForLabels
from tests.modprompt.active.given import fill, picks_in

PICKS = tuple(Picked(f"{number}.jpg", 0, 0.5, 1.0, "why") for number in (5, 3, 7))
ONE = Round(1, {}, PICKS)


@pytest.fixture
def path(tmp_path):
    return labelling.file_of(tmp_path, 1)


def shown(folder, dataset, ask, one=ONE):
    """The labelling, its round's files being there."""
    labels = Labelling(folder, Pool(dataset), ask)
    labels.show(one)
    return labels


def labels_of(one):
    return [pick.label for pick in one.picks]


def labels_in(path):
    return [row["label"] for row in picks_in(path)]


@pytest.mark.parametrize("ask", [True, False])
def test_images_without_labels_are_asked_for(tmp_path, path, unlabelled, ask):
    labels = shown(tmp_path, unlabelled, ask)
    with pytest.raises(WaitsForLabels, match="3 of 3 labels of round 1 are missing.*round_1.csv.*round_1.html"):
        labels.labelled(ONE)
    waiting = {"round": 1, "file": "round_1.csv", "missing": 3, "of": 3}
    assert json.loads((tmp_path / "waiting.json").read_text()) == waiting
    fill(path, {"5.jpg": "eel", "3.jpg": "cat"})
    with pytest.raises(WaitsForLabels, match="^1 of 3 labels of round 1 is missing"):
        labels.labelled(ONE)
    assert labels_in(path) == ["eel", "cat", ""]  # nothing is written over
    fill(path, {"7.jpg": "dog"})
    assert labels_of(labels.labelled(ONE)) == [2, 0, 1]
    assert not (tmp_path / "waiting.json").exists()


def test_labels_changed_behind_their_round_are_noticed(tmp_path, path, unlabelled):
    used = ONE._replace(picks=tuple(pick._replace(label=0) for pick in PICKS))
    labels = shown(tmp_path, unlabelled, True, used)
    labels.require_unchanged(used)
    fill(path, {"3.jpg": "dog"})
    with pytest.raises(UserError, match=r"differ from the labels that round 1 was trained with \(e\.g\. for 3\.jpg\)"):
        labels.require_unchanged(used)
    fill(path, {"3.jpg": ""})
    labels.require_unchanged(used)  # the record has them
    labels.show(used)
    assert labels_in(path) == ["cat"] * 3
    for one in (path, path.with_suffix(".html")):
        one.unlink()
        labels.show(used)
        assert one.is_file()


def test_labels_outlive_the_record_of_their_round(tmp_path, path, unlabelled):
    labels = shown(tmp_path, unlabelled, True)
    fill(path, {"5.jpg": "eel", "3.jpg": "cat", "7.jpg": "dog"})
    labels.put_aside(ONE)  # the same images are chosen again
    labels.show(ONE)
    assert labels_of(labels.labelled(ONE)) == [2, 0, 1]
    other = ONE._replace(picks=(*PICKS[:2], PICKS[2]._replace(file="8.jpg")))
    labels.put_aside(other)
    labels.show(other)
    assert labels_in(tmp_path / "round_1.aside1.csv") == ["eel", "cat", "dog"]
    assert labels_in(path) == ["", "", ""]


def test_labels_of_people_are_not_written_over_by_those_of_the_data_set(tmp_path, path, dataset):
    labels = shown(tmp_path, dataset, True)
    fill(path, {"5.jpg": "dog"})
    with pytest.raises(WaitsForLabels):
        labels.labelled(ONE)
    without = Labelling(tmp_path, Pool(dataset), ask=False)
    with pytest.raises(UserError, match="To use the labels in the file, set ACTIVE.MANUAL_LABELS to True"):
        without.labelled(ONE)
    fill(path, {"5.jpg": ""})
    found = without.labelled(ONE)
    assert labels_of(found) == [2, 0, 1]
    assert not (tmp_path / "waiting.json").exists()
    without.show(found)
    assert labels_in(path) == ["eel", "cat", "dog"]
