"""Files of data sets that are damaged, or made to do harm: an error of one line, the same lists again, nothing else."""

import json
import os
import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modprompt.data.family_pickle import read_family_pickle
from modprompt.data.listings import read_lines
from modprompt.data.splits import read_split
from modprompt.errors import UserError
from tests.campaign.kinds_caches import cached_features
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


def put_back(root, files):
    for name, content in files.items():
        (root / "eurosat" / name).write_bytes(content)


def after_a_flip(eurosat, name, bit):
    """What comes of one flipped bit: "refused", "the same", or the other lists."""
    root, whole, files = eurosat
    put_back(root, files)
    path = root / "eurosat" / name
    content = bytearray(files[name])
    content[bit // 8 % len(content)] ^= 1 << bit % 8
    path.write_bytes(content)
    try:
        found, error = lists(root), ""
    except UserError as refused:
        found, error = None, str(refused)
    put_back(root, files)
    if found is not None:
        return "the same" if found == whole else found
    return "refused" if "\n" not in error and name.split("/")[-1] in error else error


BITS = st.integers(0, 2**24)


@pytest.mark.parametrize("name", [SPLIT, LIST])
@settings(max_examples=15, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(bit=BITS)
def test_flipped_bit_is_refused_or_changes_nothing(eurosat, name, bit):
    assert after_a_flip(eurosat, name, bit) in ("refused", "the same")


@pytest.fixture(scope="module")
def cached(tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")

    def features():
        return tuple(found.numpy() for found in cached_features(folder))

    whole = features()
    (file,) = (folder / "kept").iterdir()
    return features, whole, file, file.read_bytes()


@settings(max_examples=20, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(bit=BITS)
def test_flipped_bit_in_a_feature_cache_changes_no_feature(cached, bit):
    features, whole, file, content = cached
    flipped = bytearray(content)
    flipped[bit // 8 % len(content)] ^= 1 << bit % 8
    file.write_bytes(flipped)
    assert all(np.array_equal(one, other) for one, other in zip(features(), whole))


def test_damaged_list_is_drawn_anew_and_says_so_only_if_the_generator_allows(eurosat, capsys):
    root, whole, files = eurosat
    path = root / "eurosat" / LIST
    path.write_bytes(files[LIST].replace(b'"seed": 9', b'"seed": 8'))
    with pytest.raises(UserError, match=r"shot_2-seed_9.json is damaged or was changed by hand .*: delete it to draw"):
        read("EuroSAT", root, 2, seed=9, draw=10)  # something has drawn before, as no run of ours does
    assert lists(root) == whole
    assert "(done: drawn anew from seed 9)" in capsys.readouterr().out
    assert path.read_bytes() == files[LIST]


def test_damaged_list_of_a_run_without_a_seed_is_refused(eurosat):
    root, _, _ = eurosat
    read("EuroSAT", root, 2, seed=-1, draw=3)
    path = root / "eurosat" / "split_fewshot" / "shot_2-seed_-1.json"
    path.write_text(path.read_text().replace("image_", "imaqe_", 1))
    with pytest.raises(UserError, match="shot_2-seed_-1.json is damaged"):
        read("EuroSAT", root, 2, seed=-1, draw=3)
    path.unlink()


OUTSIDE = ["/etc/passwd", "../../secret.jpg", "Forest/../../secret.jpg", "..\\secret.jpg", "C:\\secret.jpg", ""]


@pytest.mark.parametrize("name", OUTSIDE)
def test_split_that_names_a_path_elsewhere_is_refused(eurosat, name):
    root, _, files = eurosat
    content = json.loads(files[SPLIT])
    del content["modprompt"]
    content["val"][1][0] = name
    (root / "eurosat" / SPLIT).write_text(json.dumps(content))
    try:
        with pytest.raises(
            UserError, match=r"split_zhou_EuroSAT.json \(val\) lists .*: a path must be relative"
        ) as error:
            read("EuroSAT", root)
        assert repr(name) in str(error.value)
    finally:
        put_back(root, files)


@pytest.mark.parametrize("name", OUTSIDE)
def test_list_that_names_a_path_elsewhere_is_told_and_drawn_anew(eurosat, name, capsys):
    root, whole, files = eurosat
    content = json.loads(files[LIST])
    del content["modprompt"]
    content["train"][0] = name
    (root / "eurosat" / LIST).write_text(json.dumps(content))
    assert lists(root) == whole
    assert f"shot_2-seed_9.json (train) lists {name!r}: a path must be relative" in capsys.readouterr().out


def test_links_among_the_images_are_followed(tmp_path):
    trees.eurosat(tmp_path)
    folder = tmp_path / "eurosat" / "2750" / "Forest"
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    assert {item.classname for item in read("EuroSAT", tmp_path).test} >= {"Forest"}


def record_pickle(impath, label=0, extra=b""):
    """A pickle of one Datum, written by hand."""
    name = impath.encode()
    text = b"X" + len(name).to_bytes(4, "little") + name
    datum = b"cdassl.data.datasets.base_dataset\nDatum\n)\x81}(\x8c\x07_impath" + text
    datum += b"\x8c\x06_labelK" + bytes([label]) + b"ub"
    return b"\x80\x04}\x8c\x05train](" + extra + datum + b"es."


def test_pickle_written_by_hand_is_read(tmp_path):
    (tmp_path / "a.pkl").write_bytes(record_pickle("/x/2750/Forest/1.jpg", 3))
    assert read_family_pickle(tmp_path / "a.pkl", tmp_path / "2750") == {"train": [("Forest/1.jpg", 3)]}


def bomb(levels=60):
    """Tuples of tuples in 3 bytes a level, whose hash, which a dict asks for, takes 2 to the power of `levels` steps."""
    return b"\x80\x04})" + b"2\x86" * levels + b"]s."


def test_pickle_that_would_make_pythons_loader_take_2_gib_takes_none(tmp_path):
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02}r\xff\xff\xff\x7f.")
    tracemalloc.start()
    try:
        assert read_family_pickle(tmp_path / "a.pkl", tmp_path) == {}
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


HOSTILE = {
    "tuples as a key": bomb,
    "a set": lambda: pickle.dumps({"train": {1, 2}}),
    "a function": lambda: pickle.dumps({"train": [os.system]}),
    "a call": lambda: b"\x80\x04}\x8c\x05traincos\nsystem\n\x8c\x04true\x85Rs.",
    "a reference outside": lambda: b"\x80\x04\x8c\x01aQ.",
    "a path with ..": lambda: record_pickle("/x/2750/../../secret.jpg"),
    "a path elsewhere": lambda: record_pickle("/etc/passwd"),
    "another part": lambda: record_pickle("/x/2750/Forest/1.jpg").replace(b"train", b"trick"),
    "a list of lists": lambda: b"\x80\x04}\x8c\x05train](]\x94h\x00h\x00es.",
    "text alone": lambda: pickle.dumps("train"),
    "a path of a megabyte": lambda: record_pickle("/x/2750/" + "a" * 2**20),
    "nothing": lambda: b"",
    "depth": lambda: b"\x80\x04" + b"](" * 200_000 + b".",
}


@pytest.mark.parametrize("name", list(HOSTILE))
def test_hostile_pickle_is_refused_at_once(tmp_path, name):
    (tmp_path / "a.pkl").write_bytes(HOSTILE[name]())
    said = "a.pkl is not a few-shot cache of the family"
    with work_within(seconds=20), pytest.raises(UserError, match=said) as error:
        read_family_pickle(tmp_path / "a.pkl", tmp_path / "2750")
    assert "\n" not in str(error.value)


@settings(max_examples=100, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=st.binary(max_size=60), place=st.integers(0, 200))
def test_any_bytes_in_a_pickle_are_refused_or_paths_below_the_images(tmp_path_factory, content, place):
    whole = record_pickle("/x/2750/Forest/1.jpg", 3)
    place %= len(whole)
    path = tmp_path_factory.getbasetemp() / "any.pkl"
    path.write_bytes(whole[:place] + content + whole[place + len(content) :])
    found, error = {}, ""
    try:
        found = read_family_pickle(path, path.parent / "2750")
    except UserError as refused:
        error = str(refused)
    assert "\n" not in error
    for rows in found.values():
        for name, label in rows:
            assert isinstance(label, int)
            assert not name.startswith("/")
            assert ".." not in name.split("/")


def test_family_pickle_of_numbers_with_one_hash_is_refused(tmp_path):
    numbers = [(i * ((1 << 61) - 1)).to_bytes(10, "little", signed=True) for i in range(1, 20_000)]
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02}(" + b"".join(b"\x8a\x0a" + n + b"N" for n in numbers) + b"u.")
    with pytest.raises(UserError, match="a key that is neither text nor a number of usual size"):
        read_family_pickle(tmp_path / "a.pkl", tmp_path / "2750")


def test_family_pickle_in_which_many_small_operations_follow_each_other(tmp_path):
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02}X\x05\x00\x00\x00train](" + b"N" * 10_000 + b"es.")
    with pytest.raises(UserError, match="it lists something that is no image"):
        read_family_pickle(tmp_path / "a.pkl", tmp_path / "2750")


def test_state_that_a_family_pickle_gives_to_many_images_is_not_copied(tmp_path):
    from modprompt.data import family_pickle

    record = family_pickle._Record()
    record.take({"_impath": "a", "_label": 1, "more": 2})
    assert record.state == ("a", 1)


def test_postscript_under_the_name_of_an_image_is_not_run(tmp_path, monkeypatch):
    from dassl.utils import read_image

    from modprompt.data.images import look_at

    ghostscript = tmp_path / "gs"
    ghostscript.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    (tmp_path / "a.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n{} loop\n%%EOF\n")
    with pytest.raises(ValueError, match="a.jpg .it is none of JPEG"):
        read_image(str(tmp_path / "a.jpg"))
    assert look_at(str(tmp_path / "a.jpg")).fault == "it is none of JPEG, PNG, BMP, GIF, TIFF, WEBP, PPM, or damaged"
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["listing.txt", "split.json", "few.pkl"])
def test_pipe_in_a_files_place_is_not_waited_for(name, tmp_path):
    path = tmp_path / name
    os.mkfifo(path)
    readers = {
        "listing.txt": lambda: list(read_lines(path)),
        "split.json": lambda: read_split(path, tmp_path),
        "few.pkl": lambda: read_family_pickle(path, tmp_path),
    }
    with pytest.raises(UserError, match=name):
        readers[name]()
