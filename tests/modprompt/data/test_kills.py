"""A killed run leaves nothing behind by which another one would see other images."""

import json

import pytest

from tests.modprompt.data import trees
from tests.modprompt.data.test_readers import facts, read


@pytest.mark.parametrize("first", [(1, 16, "all"), (2, 4, "new"), (3, 1, "base"), (-1, -1, "all")])
def test_whichever_run_starts_first_the_lists_are_the_same(first, tmp_path):
    lists = []
    for name in ("fresh", "with_split"):
        root = tmp_path / name
        trees.eurosat(root)
        seed, shots, half = first if name == "fresh" else (1, -1, "all")
        read("EuroSAT", root, shots, half, seed=seed)
        dataset = read("EuroSAT", root, 2, seed=5)
        lists.append([facts(items, root) for items in (dataset.train_x, dataset.val, dataset.test)])
    assert lists[0] == lists[1]


def test_split_is_readable_by_the_familys_readers(tmp_path):
    """They take the three keys and nothing else of the file, and join their paths to the image folder."""
    trees.eurosat(tmp_path)
    dataset = read("EuroSAT", tmp_path)
    content = json.loads((tmp_path / "eurosat" / "split_zhou_EuroSAT.json").read_text())
    theirs = [
        [(str(tmp_path / "eurosat" / "2750" / name), int(label), cname) for name, label, cname in content[part]]
        for part in ("train", "val", "test")
    ]
    ours = [[(i.impath, i.label, i.classname) for i in part] for part in (dataset.train_x, dataset.val, dataset.test)]
    assert theirs == ours
    seal = content["modprompt"]
    assert seal["generator"] == "random.Random(1)"
    assert len(seal["hash"]) == len(seal["split"]) == len(seal["listing"]) == 64
