"""Files of data sets that are damaged, or made to do harm: an error of one line, the same lists again, nothing else."""

import json
import os
import pickle

import pytest

from modprompt.data.family_pickle import read_family_pickle
from modprompt.errors import UserError
from tests.conftest import one_line
from tests.modprompt.data import trees
from tests.modprompt.data.test_readers import facts, read
from tests.work_time import work_within

SPLIT, LIST = "split_zhou_EuroSAT.json", "split_fewshot/shot_2-seed_9.json"


@pytest.fixture(scope="module")
def eurosat(tmp_path_factory):
    """A EuroSAT whose split and lists are made, and what they are."""
    root = tmp_path_factory.mktemp("damage")
    trees.eurosat(root)
    return root, lists(root), {name: (root / "eurosat" / name).read_bytes() for name in (SPLIT, LIST)}


def lists(root):
    dataset = read("EuroSAT", root, 2, seed=9)
    return [facts(items, root) for items in (dataset.train_x, dataset.val, dataset.test)]


def test_damaged_list_is_drawn_anew_and_says_so_only_if_the_generator_allows(eurosat, capsys):
    root, whole, files = eurosat
    path = root / "eurosat" / LIST
    path.write_bytes(files[LIST].replace(b'"seed": 9', b'"seed": 8'))
    with pytest.raises(UserError, match=r"shot_2-seed_9.json is damaged or was edited by hand, .*\. Delete it to draw"):
        read("EuroSAT", root, 2, seed=9, draw=10)  # something has drawn before, as no run of ours does
    assert lists(root) == whole
    assert "The few-shot list was drawn again with seed 9." in capsys.readouterr().out
    assert path.read_bytes() == files[LIST]


@pytest.mark.parametrize("name", ["/etc/passwd", "Forest/../../secret.jpg", "..\\secret.jpg"])
def test_split_that_names_a_path_elsewhere_is_refused(eurosat, name):
    root, _, files = eurosat
    content = json.loads(files[SPLIT])
    del content["modprompt"]
    content["val"][1][0] = name
    (root / "eurosat" / SPLIT).write_text(json.dumps(content))
    with pytest.raises(
        UserError, match=r"split_zhou_EuroSAT.json \(val\) lists the path .*, which must be relative"
    ) as error:
        read("EuroSAT", root)
    assert repr(name) in str(error.value)
    (root / "eurosat" / SPLIT).write_bytes(files[SPLIT])


@pytest.mark.parametrize("name", ["../../secret.jpg", ""])
def test_list_that_names_a_path_elsewhere_is_not_used(eurosat, name, capsys):
    root, whole, files = eurosat
    content = json.loads(files[LIST])
    del content["modprompt"]
    content["train"][0] = name
    (root / "eurosat" / LIST).write_text(json.dumps(content))
    assert lists(root) == whole
    assert (
        "shot_2-seed_9.json was made for a different split, so new few-shot lists are drawn" in capsys.readouterr().out
    )


def record_pickle(impath, label=0):
    """A pickle of one Datum, written by hand."""
    name = impath.encode()
    text = b"X" + len(name).to_bytes(4, "little") + name
    datum = b"cdassl.data.datasets.base_dataset\nDatum\n)\x81}(\x8c\x07_impath" + text
    datum += b"\x8c\x06_labelK" + bytes([label]) + b"ub"
    return b"\x80\x04}\x8c\x05train](" + datum + b"es."


HOSTILE = {
    "a set": pickle.dumps({"train": {1, 2}}),
    "a function": pickle.dumps({"train": [os.system]}),
    "a call": b"\x80\x04}\x8c\x05traincos\nsystem\n\x8c\x04true\x85Rs.",
    "a path elsewhere": record_pickle("/etc/passwd"),
    "a label that is none": record_pickle("/x/2750/Forest/1.jpg").replace(b"_labelK\0", b"_labelN"),
    "another part": record_pickle("/x/2750/Forest/1.jpg").replace(b"train", b"trick"),
    "a list of lists": b"\x80\x04}\x8c\x05train](]\x94h\x00h\x00es.",
    "text alone": pickle.dumps("train"),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_hostile_pickle_is_refused_at_once(tmp_path, content):
    (tmp_path / "a.pkl").write_bytes(content)
    said = "a.pkl is not a valid pickle file of a Dassl-based codebase"
    with work_within(seconds=20), one_line(said):
        read_family_pickle(tmp_path / "a.pkl", tmp_path / "2750")
    (tmp_path / "a.pkl").write_bytes(record_pickle("/x/2750/Forest/1.jpg", 3))  # and one of this form is read
    assert read_family_pickle(tmp_path / "a.pkl", tmp_path / "2750")["train"] == [("Forest/1.jpg", 3)]
