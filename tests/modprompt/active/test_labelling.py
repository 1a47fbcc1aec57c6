"""Labels come from the data set or from people, and a run that lacks some waits without losing any."""

import csv
import io
import json

import pytest

from modprompt.active import labelling
from modprompt.active.labelling import Labelling
from modprompt.active.pool import Pool
from modprompt.active.record import Picked, Round
from modprompt.errors import UserError, WaitsForLabels

PICKS = tuple(Picked(f"{number}.jpg", 0, 0.5, 1.0, "why") for number in (5, 3, 7))


@pytest.fixture
def one():
    return Round(1, {}, PICKS)


def rows_in(path):
    return list(csv.DictReader(io.StringIO(path.read_text("utf-8-sig"), newline="")))


def shown(labels, one):
    """The labelling, its round's files being there."""
    labels.show(one)
    return labels


def fill(path, labels):
    rows = rows_in(path)
    for row in rows:
        row["label"] = labels.get(row["file"], row["label"])
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def test_known_labels_are_taken_without_a_question(tmp_path, dataset, one):
    labels = shown(Labelling(tmp_path, Pool(dataset), ask=False), one)
    found = labels.labelled(one)
    assert [pick.label for pick in found.picks] == [2, 0, 1]
    labels.show(found)
    assert [row["label"] for row in rows_in(labelling.file_of(tmp_path, 1))] == ["eel", "cat", "dog"]


@pytest.mark.parametrize("ask", [True, False])
def test_images_without_labels_are_asked_for(tmp_path, unlabelled, one, ask):
    labels = shown(Labelling(tmp_path, Pool(unlabelled), ask), one)
    with pytest.raises(WaitsForLabels, match="round 1 lacks 3 of 3 labels.*round_1.csv.*round_1.html"):
        labels.labelled(one)
    assert json.loads((tmp_path / "waiting.json").read_text()) == {
        "round": 1,
        "file": "round_1.csv",
        "missing": 3,
        "of": 3,
    }
    path = labelling.file_of(tmp_path, 1)
    fill(path, {"5.jpg": "eel", "3.jpg": "cat"})
    with pytest.raises(WaitsForLabels, match="lacks 1 of 3"):
        labels.labelled(one)
    assert json.loads((tmp_path / "waiting.json").read_text())["missing"] == 1
    assert "eel" in path.read_text()  # nothing is written over
    fill(path, {"7.jpg": "dog"})
    assert [pick.label for pick in labels.labelled(one).picks] == [2, 0, 1]
    assert not (tmp_path / "waiting.json").exists()


def test_labels_changed_behind_their_round_are_noticed(tmp_path, unlabelled, one):
    pool = Pool(unlabelled)
    used = one._replace(picks=tuple(pick._replace(label=0) for pick in PICKS))
    labels = shown(Labelling(tmp_path, pool, ask=True), used)
    labels.require_unchanged(used)
    fill(labelling.file_of(tmp_path, 1), {"3.jpg": "dog"})
    with pytest.raises(UserError, match=r"other labels than round 1 has \(e\.g\. of 3\.jpg\)"):
        labels.require_unchanged(used)
    fill(labelling.file_of(tmp_path, 1), {"3.jpg": ""})
    labels.require_unchanged(used)  # the record has them
    labels.show(used)
    assert [row["label"] for row in rows_in(labelling.file_of(tmp_path, 1))] == ["cat"] * 3
    for ending in (".csv", ".html"):
        labelling.file_of(tmp_path, 1).with_suffix(ending).unlink()
        labels.show(used)
        assert labelling.file_of(tmp_path, 1).with_suffix(ending).is_file()


def test_labels_outlive_the_record_of_their_round(tmp_path, unlabelled, one):
    labels, path = shown(Labelling(tmp_path, Pool(unlabelled), ask=True), one), labelling.file_of(tmp_path, 1)
    fill(path, {"5.jpg": "eel", "3.jpg": "cat", "7.jpg": "dog"})
    labels.put_aside(one)  # the same images are chosen again
    labels.show(one)
    assert [pick.label for pick in labels.labelled(one).picks] == [2, 0, 1]
    other = one._replace(picks=(*PICKS[:2], PICKS[2]._replace(file="8.jpg")))
    labels.put_aside(other)
    labels.show(other)
    assert [row["label"] for row in rows_in(tmp_path / "round_1.aside1.csv")] == ["eel", "cat", "dog"]
    assert [row["label"] for row in rows_in(path)] == ["", "", ""]


def test_labels_of_people_are_not_written_over_by_those_of_the_data_set(tmp_path, dataset, one):
    labels, path = shown(Labelling(tmp_path, Pool(dataset), ask=True), one), labelling.file_of(tmp_path, 1)
    fill(path, {"5.jpg": "dog"})
    with pytest.raises(WaitsForLabels):
        labels.labelled(one)
    without = Labelling(tmp_path, Pool(dataset), ask=False)
    with pytest.raises(UserError, match="ACTIVE.ASK True goes on with them"):
        without.labelled(one)
    fill(path, {"5.jpg": ""})
    assert [pick.label for pick in without.labelled(one).picks] == [2, 0, 1]
    assert not (tmp_path / "waiting.json").exists()
