"""All sixteen readers against lists recorded from the reference's readers on the same trees (record_reference.py)."""

import json
import os
import pickle
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dassl.config import get_cfg_default
from dassl.data.datasets import DATASET_REGISTRY, Datum, build_dataset

import modprompt.data.readers.all  # noqa: F401 - registers
import modprompt.trainers.mpl  # noqa: F401 - SUBSAMPLE_CLASSES
from modprompt.cli import train
from modprompt.data.images import by_label
from modprompt.data.readers import imagenet
from modprompt.errors import UserError
from modprompt.experiments.plan.inputs import find_missing
from modprompt.io.images import list_hash
from tests.conftest import ROOT, one_line
from tests.modprompt.data import trees

RECORDED = json.loads((Path(__file__).parent / "reference_lists.json").read_text())
REFERENCE_NAMES = ("DATASET.REFERENCE_NAMES", True)
PUBLISHED = Path(os.environ.get("SPLITS", ROOT.parent / "shared" / "data" / "splits"))


def sorted_listing(path, sort=False):
    return sorted(entry.name for entry in Path(path).iterdir() if not entry.name.startswith("."))


@pytest.fixture(autouse=True)
def listing_is_sorted(monkeypatch):
    """The system's order is what the reference uses; the recorded lists were made with sorted folders."""
    for module in ("splits", "images"):
        monkeypatch.setattr(f"modprompt.data.{module}.listdir_nohidden", sorted_listing)


def read(name, root, shots=-1, half="all", seed=trees.SEED, draw=None, out="", options=()):
    cfg = get_cfg_default()
    cfg.OUTPUT_DIR = str(out)
    cfg.DATASET.NAME, cfg.DATASET.ROOT, cfg.SEED = name, str(root), seed
    cfg.DATASET.NUM_SHOTS, cfg.DATASET.SUBSAMPLE_CLASSES = shots, half
    cfg.TEST.ONLY = name.startswith("ImageNet") and name != "ImageNet"  # with test images alone
    cfg.merge_from_list([*options])
    random.seed(seed if draw is None else draw)
    return build_dataset(cfg)


def facts(items, root):
    return None if items is None else [(os.path.relpath(i.impath, root), i.label, i.classname) for i in items]


def recorded(key):
    case = RECORDED["cases"][key]
    return [
        None if rows is None else [(RECORDED["files"][n], label, case["names"][str(label)]) for n, label in rows]
        for rows in case["lists"]
    ]


CASES = sorted({key.rsplit(" ", 2)[0] for key in RECORDED["cases"]})
SLOW = {case for case in CASES if case.endswith("split file")} - {"dtd split file", "caltech256 split file"}
SLOW.add("stanford_cars raw")


@pytest.mark.parametrize("case", [pytest.param(case, marks=[pytest.mark.slow] * (case in SLOW)) for case in CASES])
def test_lists_are_the_references_item_by_item(case, tmp_path, monkeypatch):
    """A first run, which makes the split, has the lists that the reference draws when the split is there already."""
    monkeypatch.setattr("modprompt.data.splits.SPLIT_SEED", trees.SEED)  # of the runs that made the recorded splits
    module, how = case.split(" ", 1)
    make, name, folder, split_file = trees.DATA_SETS[module]
    make(tmp_path)
    if how == "split file":
        read(name, tmp_path, options=REFERENCE_NAMES)
    combinations = [key.rsplit(" ", 2)[1:] for key in RECORDED["cases"] if key.rsplit(" ", 2)[0] == case]
    assert len(combinations) == (1 if module in ("imagenet_a", "imagenet_r", "imagenet_sketch", "imagenetv2") else 12)
    for shots, half in combinations:
        if how == "raw" and split_file and (tmp_path / folder / split_file).exists():
            (tmp_path / folder / split_file).unlink()
        shutil.rmtree(tmp_path / folder / "split_fewshot", ignore_errors=True)
        dataset = read(name, tmp_path, int(shots), half, options=REFERENCE_NAMES)
        found = [facts(items, tmp_path) for items in (dataset.train_x, dataset.val, dataset.test)]
        drawn_from = f"{module} split file" if split_file and int(shots) >= 1 else case
        assert found == recorded(f"{drawn_from} {shots} {half}"), (shots, half)


# SHA-256 (first 12 digits) of the published few-shot lists, 16 shots, train/val, seeds 1 2 3
PUBLISHED_HASHES = {
    "dtd": ["e68a838b6118/db2f413512df", "64fd4ab4ff76/3eb6af8be1b1", "9e7fd36cc876/6fd7fd6a24bf"],
    "eurosat": ["fb965711a4e0/48dcd282bd56", "ec14d4a64bcc/65ebc8e1efa6", "dea33da9f963/908821ded886"],
    "oxford_flowers": ["8c3b75a3aef3/a6261b635c0c", "c3b74b70b239/a789d3104493", "cd3b3a535fa4/c6a81eb6671a"],
    "oxford_pets": ["542b878e99d3/4473770df985", "da4e58b46e1f/75a354768a14", "49f663616ecf/4e988fcfb725"],
}


@pytest.mark.slow
@pytest.mark.parametrize("module", PUBLISHED_HASHES)
def test_published_splits_give_the_published_few_shot_lists(module, tmp_path, monkeypatch):
    _, name, folder, split_file = trees.DATA_SETS[module]
    if not (PUBLISHED / split_file).is_file():
        pytest.skip(f"no published split file at {PUBLISHED / split_file}")
    image_dir = tmp_path / folder / DATASET_REGISTRY.get(name).image_folder
    image_dir.mkdir(parents=True)
    shutil.copy(PUBLISHED / split_file, tmp_path / folder / split_file)
    # tens of thousands of images, all taken to be there
    monkeypatch.setattr(os.path, "isfile", lambda path: True)
    monkeypatch.setattr("modprompt.data.fewshot.FewShotCache.read", lambda self, whole, key: None)
    for seed, hashes in enumerate(PUBLISHED_HASHES[module], start=1):
        dataset = read(name, tmp_path, 16, seed=seed)
        assert "/".join(list_hash(items, str(image_dir)) for items in (dataset.train_x, dataset.val)) == hashes


AT_ONCE = """
import json, multiprocessing, sys
import tests.conftest
from tests.modprompt.data.test_readers import facts, read, sorted_listing

for module in ("splits", "images"):
    sys.modules[f"modprompt.data.{module}"].listdir_nohidden = sorted_listing

def lists(number):
    barrier.wait(60)
    dataset = read("EuroSAT", sys.argv[1], 2, seed=1)
    return [facts(items, sys.argv[1]) for items in (dataset.train_x, dataset.val, dataset.test)]

context = multiprocessing.get_context("fork")
barrier = context.Barrier(20)
with context.Pool(20) as pool:
    print(json.dumps(pool.map(lists, range(20), chunksize=1)))
"""  # in a process of its own: forks get none of the threads, signal handlers and locks of the tests


@pytest.mark.slow
def test_twenty_processes_at_once_end_with_the_same_lists(tmp_path):
    trees.eurosat(tmp_path)
    words = [sys.executable, "-W", "ignore", "-c", AT_ONCE, str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    lists = json.loads(done.stdout.splitlines()[-1])
    assert lists == [lists[0]] * 20
    assert len(lists[0][0]) == 10
    cache = tmp_path / "eurosat" / "split_fewshot"
    assert sorted(path.name for path in cache.iterdir()) == [".lock", "shot_2-seed_1.json"]
    assert len(json.loads((cache / "shot_2-seed_1.json").read_text())["train"]) == 10
    shutil.rmtree(cache)
    (tmp_path / "eurosat" / "split_zhou_EuroSAT.json").unlink()
    alone = read("EuroSAT", tmp_path, 2, seed=1)  # and they are the lists of a single process
    assert [list(row) for row in facts(alone.train_x, tmp_path)] == lists[0][0]


def family_cache(path, items):
    """A cache as the family writes it: pickled Datum objects with absolute paths of another root."""

    def datum(impath, label, classname):
        one = Datum.__new__(Datum)  # without a look at the disk
        vars(one).update(_impath=impath, _label=label, _domain=0, _classname=classname)
        return one

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps({part: [datum(*row) for row in rows] for part, rows in items.items()}, protocol=5))


def test_a_split_of_two_labels_with_one_name_is_not_written(tmp_path):
    """The first run would take it, and all later ones refuse it."""
    trees.caltech101(tmp_path)
    folder = tmp_path / "caltech-101" / "101_ObjectCategories"
    shutil.copytree(folder / "accordion", folder / "airplane")
    for _ in range(2):
        with pytest.raises(UserError, match="contains the class name 'airplane' for the labels 4 and 5|two names"):
            read("Caltech101", tmp_path)
        assert not (tmp_path / "caltech-101" / "split_zhou_Caltech101.json").exists()


@pytest.fixture
def eurosat_split(tmp_path):
    trees.eurosat(tmp_path)
    return read("EuroSAT", tmp_path), tmp_path / "eurosat" / "split_fewshot" / "shot_2-seed_9.pkl"


def elsewhere(items):
    return [(f"/somebodys/disk/eurosat/2750/{i.impath.split('/2750/')[1]}", i.label, i.classname) for i in items]


def two_of_each(items):
    return [item for group in by_label(items).values() for item in group[:2]]


@pytest.mark.parametrize("fault", ["", "test image", "other label", "too few", "one twice", "cut off"])
def test_cache_of_the_family_is_used_only_if_it_agrees(eurosat_split, tmp_path, capsys, fault):
    full, path = eurosat_split
    train, val = elsewhere(two_of_each(full.train_x)), elsewhere(two_of_each(full.val))
    whole = [name.split("/2750/")[1] for name, *_ in train]
    if fault == "test image":
        train[0] = elsewhere(full.test)[0]
    elif fault == "other label":
        train[0] = (train[0][0], 3, train[0][2])
    elif fault == "too few":
        train = train[1:]
    elif fault == "one twice":
        train[1] = train[0]
    family_cache(path, {"train": train, "val": val})
    if fault == "cut off":
        path.write_bytes(path.read_bytes()[:100])
    dataset = read("EuroSAT", tmp_path, 2, seed=9)
    assert len(dataset.train_x) == 10
    assert {i.impath for i in dataset.train_x} <= {i.impath for i in full.train_x}
    out = capsys.readouterr().out
    assert ("shot_2-seed_9.pkl was made for a different split, so new few-shot lists are drawn" in out) == bool(fault)
    assert (path.parent / "shot_2-seed_9.json").is_file() == bool(fault)
    assert fault or [i.impath.split("/2750/")[1] for i in dataset.train_x] == whole


def test_read_only_root_keeps_its_files_elsewhere(tmp_path, monkeypatch, capsys):
    trees.eurosat(tmp_path / "data")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "data" / "eurosat"
    plain = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and plain(path, mode))
    before = sorted(path.name for path in folder.iterdir())
    first = read("EuroSAT", tmp_path / "data", 2, "base")
    assert sorted(path.name for path in folder.iterdir()) == before == ["2750"]
    said = f"{folder} is read-only, so the split and the few-shot lists are stored in {tmp_path / 'cache'}"
    assert said in capsys.readouterr().out
    again = read("EuroSAT", tmp_path / "data", 2, "base", draw=99)
    assert facts(again.train_x, tmp_path) == facts(first.train_x, tmp_path)


def test_caltech256_names_are_whole_or_the_references_whose_places_are_counted_over_both_halves(tmp_path):
    trees.caltech256(tmp_path)
    folder = tmp_path / "caltech-256"
    whole = read("Caltech256", tmp_path)
    assert whole.classnames == ["american-flag", "bat", "motorbikes", "t-shirt", "clutter"]
    assert whole.which == ()
    (folder / "split_huang_Caltech256.json").unlink()
    images = folder / "256_ObjectCategories"
    shutil.copytree(images / "002.american-flag", images / "300.american-eagle")
    found = {half: read("Caltech256", tmp_path, half=half, options=REFERENCE_NAMES) for half in ("all", "base", "new")}
    assert {half: (one.classnames, one.which) for half, one in found.items()} == {
        "all": (["american", "bat", "motorbikes", "t", "clutter", "american"], (0, 0, 0, 0, 0, 1)),
        "base": (["american", "bat", "motorbikes"], (0, 0, 0)),
        "new": (["t", "clutter", "american"], (0, 0, 1)),
    }


def test_order_of_imagenets_preprocessed_pickle_decides(tmp_path, capsys):
    trees.imagenet(tmp_path)
    path = tmp_path / "imagenet" / "preprocessed.pkl"
    plain = read("ImageNet", tmp_path)
    content = pickle.loads(path.read_bytes())  # as the family's code does, with the real class
    for part, items in (("train", plain.train_x), ("test", plain.test)):
        assert facts(content[part], tmp_path) == facts(items, tmp_path)
    assert {type(item) for item in content["test"]} == {Datum}

    def listed(items):
        return [(f"/x/imagenet/images/{i.impath.split('/images/')[1]}", i.label, i.classname) for i in items]

    family_cache(path, {"train": listed(plain.train_x[::-1]), "test": listed(plain.test)})
    assert facts(read("ImageNet", tmp_path).train_x, tmp_path) == facts(plain.train_x[::-1], tmp_path)
    whole = path.read_bytes()
    (tmp_path / "imagenet/images/train/n01440764/n01440764_0.JPEG").unlink()
    shutil.rmtree(tmp_path / "imagenet/images/val/n01443537")
    capsys.readouterr()
    changed = read("ImageNet", tmp_path)
    assert len(changed.train_x) == len(plain.train_x) - 1
    assert sorted({item.label for item in changed.test}) == [0, 2, 3, 4]  # labels do not shift
    assert f"{path} is not used, because the images have changed since" in capsys.readouterr().out
    path.write_bytes(whole[:-30])
    read("ImageNet", tmp_path)
    assert f"{path} is not a valid pickle file of a Dassl-based codebase" in capsys.readouterr().out


def test_few_shot_list_of_imagenet_needs_no_other_training_images(tmp_path, monkeypatch, capsys):
    trees.imagenet(tmp_path)
    summary = tmp_path / "imagenet" / "preprocessed.json"

    def lists(half="all"):
        listed.clear()
        dataset = read("ImageNet", tmp_path, 2, half)
        found = [facts(items, tmp_path) for items in (dataset.train_x, dataset.test)]
        return [*found, dataset.classnames, dataset.split_facts, dataset.few_shot_hash, dataset.record_files]

    listed, plain = [], imagenet.file_names
    monkeypatch.setattr(imagenet, "file_names", lambda folder: listed.append(Path(folder)) or plain(folder))
    first = {}
    for half in ("all", "base", "new"):
        summary.unlink(missing_ok=True)
        first[half] = lists(half)
        assert {path.parent.name for path in listed} == {"train", "val"}
    capsys.readouterr()
    for half, expected in first.items():
        assert lists(half) == expected
        assert {path.parent.name for path in listed} == {"val"}
    assert "Loading the few-shot lists of " in capsys.readouterr().out
    train = tmp_path / "imagenet/images/train"
    list_file = next((tmp_path / "imagenet/split_fewshot").glob("*.json"))
    unused = next(path for path in sorted(train.rglob("*.JPEG")) if path.name not in list_file.read_text())
    for path in (summary, tmp_path / "imagenet/preprocessed.pkl", list_file):
        before = path.read_bytes()
        path.write_bytes(before.replace(b"01440764", b"01440765", 1))
        lists()
        assert "train" in {path.parent.name for path in listed}, path
        path.write_bytes(before)
        assert lists() == first["all"]
    trees.touch(train / "n01440764" / "another.JPEG")
    lists()
    assert "train" not in {path.parent.name for path in listed}
    (train / "n01440764" / "another.JPEG").unlink()
    used = next(path for path in sorted(train.rglob("*.JPEG")) if path != unused and path.name in list_file.read_text())
    used.unlink()
    lists()
    assert "train" in {path.parent.name for path in listed}


def test_imagenets_pickle_is_written_whole_or_not(tmp_path, monkeypatch, capsys):
    trees.imagenet(tmp_path)
    path = tmp_path / "imagenet" / "preprocessed.pkl"
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    read("ImageNet", tmp_path)
    assert (
        f"note: {path} cannot be written (No space left on device), so the order of the images depends"
        in capsys.readouterr().out
    )
    assert sorted(path.name for path in path.parent.iterdir()) == ["classnames.txt", "images", "split_fewshot"]


REFUSED = [  # data set, path to spoil in its folder, what the file then holds (None: it is removed), message
    ("fgvc_aircraft", "images/1000.jpg", None, "train.txt, line 1, lists 1000.jpg, but .*1000.jpg does not exist"),
    ("fgvc_aircraft", "images_variant_val.txt", "1 Concorde\n", "val.txt, line 1: .* must contain an image"),
    ("oxford_pets", "annotations/test.txt", "# list\n", "test.txt, line 1: .* must contain an image name"),
    (
        "oxford_pets",
        "annotations/trainval.txt",
        "Bombay_1 3 1 3\n",
        "class 'bombay' has 1 image, but a train/val split needs",
    ),
    (
        "sun397",
        "Training_01.txt",
        "\n/z/nowhere/x.jpg\n",
        "Training_01.txt, line 2: .* must contain a path of the form /FOLDER/IMAGE",
    ),
    ("ucf101", "ucfTrainTestlist/classInd.txt", f"{'9' * 5000} Yo\n", "classInd.txt, line 1: .* must contain a number"),
    (
        "ucf101",
        "ucfTrainTestlist/testlist01.txt",
        "v_Yo.avi\n",
        "testlist01.txt, line 1: .* must contain a path ACTION/",
    ),
    ("stanford_cars", "devkit/cars_meta.mat", "x", "cars_meta.mat is not a complete MATLAB file"),
    ("stanford_cars", "cars_test/00002.jpg", None, "withlabels.mat lists cars_test/00002.jpg"),
    ("oxford_flowers", "cat_to_name.json", '{"1": "a', "cat_to_name.json is not a complete"),
    ("oxford_flowers", "cat_to_name.json", '{"1": "a"}', "has no class name for the label 3"),
    ("oxford_flowers", "cat_to_name.json", "null", "cat_to_name.json is not a complete .*no JSON object"),
    ("oxford_flowers", "cat_to_name.json", '{"3": 3}', "has no class name for the label 3"),
    ("imagenet", "classnames.txt", "n01440764\n", "classnames.txt, line 1: .* must contain a WordNet ID"),
    ("imagenet", "classnames.txt", "n01440764 tench\n", "has no class name for the class folder .*n01443537"),
    ("imagenet", "images/val", None, "The folder .*val does not exist"),
    ("imagenet_sketch", "images/stray.txt", "x", "stray.txt is a file, but .* may only contain class folders"),
    ("dtd", "images/lonely/x.jpg", "x", "lonely has 1 image, but a train/val/test split needs at least 4"),
    ("imagenetv2", "imagenetv2-matched-frequency-format-val/7", None, "folder .*/7 is missing. Add the missing images"),
    (
        "caltech256",
        "256_ObjectCategories/misc/1.jpg",
        "x",
        "needs at least 4|'misc' does not consist of a number and a class name",
    ),
    ("dtd", "images/waffled/sub/x.jpg", "x", "waffled/sub is not a file, but class folders"),
]


@pytest.mark.parametrize(("module", "file", "content", "message"), REFUSED)
def test_bad_data_are_one_line(module, file, content, message, tmp_path):
    make, name, folder, _ = trees.DATA_SETS[module]
    make(tmp_path)
    path = tmp_path / folder / file
    if content is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    elif path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    with one_line(message):
        read(name, tmp_path)


@pytest.mark.parametrize("module", trees.DATA_SETS)
def test_what_is_missing_before_a_run_is_what_the_reader_cannot_do_without(module, tmp_path):
    make, name, folder, _ = trees.DATA_SETS[module]
    make(tmp_path)
    assert find_missing(module, tmp_path) == ""
    wrong = []
    for path in [path for path in (tmp_path / folder).rglob("*") if path.suffix in (".txt", ".mat", ".json")]:
        away = path.rename(tmp_path / "away")
        said, told = find_missing(module, tmp_path), ""
        try:
            read(name, tmp_path)
        except UserError as error:
            told = str(error)
        if (said, told and path.name in told) not in (("", ""), (f"{path} does not exist", True)):
            wrong.append((said, told))
        if not said:
            shutil.rmtree(tmp_path / folder)  # with what the reader has written
            make(tmp_path)
        else:
            away.rename(path)
    assert wrong == []


@pytest.mark.parametrize(
    ("label", "column", "value", "message"),  # what all rows of a label get in a column; None: none is for training
    [
        (
            1,
            1,
            11,
            "the labels of the training images must include every number from 0 to 4, but no image has the label 1",
        ),
        (
            1,
            1,
            -1,
            "the labels of the training images must include every number from 0 to 4, but no image has the label 1",
        ),
        (1, 2, "Sea or Lake", "contains the class name 'Sea or Lake' for the labels 1 and 4"),
        (4, None, None, "class 'Sea or Lake' has test images but no training image"),
    ],
)
def test_labels_of_somebodys_split_that_cannot_be_are_refused(label, column, value, message, eurosat_split, tmp_path):
    path = tmp_path / "eurosat" / "split_zhou_EuroSAT.json"
    split = json.loads(path.read_text())
    del split["modprompt"]
    for row in (row for part in split.values() for row in part if row[1] == label and column):
        row[column] = value
    if column is None:
        split["train"] = [row for row in split["train"] if row[1] != label]
    path.write_text(json.dumps(split))
    with pytest.raises(UserError, match=message):
        read("EuroSAT", tmp_path)


def test_missing_root_and_missing_images_are_named(tmp_path):
    with pytest.raises(UserError, match=r"DATASET.ROOT .*nowhere: the folder does not exist. Set --root .*, or run"):
        read("EuroSAT", tmp_path / "nowhere")
    with pytest.raises(
        UserError, match=r"EuroSAT: the folder .*eurosat/2750 does not exist. Run `modprompt prepare EuroSAT"
    ):
        read("EuroSAT", tmp_path)


@pytest.mark.parametrize("first", [(1, 16, "all"), (2, 4, "new"), (-1, -1, "all")])
def test_whichever_run_starts_first_the_lists_are_the_same(first, eurosat_split, tmp_path):
    """A killed run leaves nothing behind by which another one would see other images."""
    seed, shots, half = first
    trees.eurosat(tmp_path / "fresh")
    read("EuroSAT", tmp_path / "fresh", shots, half, seed=seed)
    lists = []
    for root in (tmp_path, tmp_path / "fresh"):
        dataset = read("EuroSAT", root, 2, seed=5)
        lists.append([facts(items, root) for items in (dataset.train_x, dataset.val, dataset.test)])
    assert lists[0] == lists[1]


def test_split_is_readable_by_the_familys_readers(eurosat_split, tmp_path):
    """They take the three keys and nothing else of the file, and join their paths to the image folder."""
    dataset, _ = eurosat_split
    content = json.loads((tmp_path / "eurosat" / "split_zhou_EuroSAT.json").read_text())
    theirs = [[(f"eurosat/2750/{name}", *rest) for name, *rest in content[part]] for part in ("train", "val", "test")]
    assert theirs == [facts(items, tmp_path) for items in (dataset.train_x, dataset.val, dataset.test)]
    assert list(content) == ["train", "val", "test", "modprompt"]
    seal = content["modprompt"]
    assert seal["generator"] == "random.Random(1)"
    assert len(seal["hash"]) == len(seal["split"]) == len(seal["listing"]) == 64


def test_variants_of_imagenet_have_no_halves_empty_folders_or_lacking_classes_that_are_not_told(tmp_path, capsys):
    trees.imagenet_a(tmp_path)
    with pytest.raises(
        UserError, match="SUBSAMPLE_CLASSES new is not supported by ImageNetA, which has no base and new classes"
    ):
        read("ImageNetA", tmp_path, half="new")
    assert read("ImageNetA", tmp_path).split_facts["classes"] == "3 of 200 classes"
    assert "ImageNetA has 3 classes in this run, but the published data set has 200" in capsys.readouterr().out
    folder = tmp_path / "imagenet-adversarial/imagenet-a/n01443537"
    shutil.rmtree(folder)
    trees.touch(folder / "Thumbs.db")
    with pytest.raises(
        UserError, match=f"The class folder {folder} contains no images"
    ):  # labels behind it would shift
        read("ImageNetA", tmp_path)


def test_training_on_a_variant_is_refused_before_anything_starts(mpl_flags, tmp_path, capsys):
    trees.imagenet_a(tmp_path)
    words = [*mpl_flags]
    words[words.index("--root") + 1] = str(tmp_path)
    words[words.index("--dataset-config-file") + 1] = str(ROOT / "configs/datasets/imagenet_a.yaml")
    words += ["MODEL.BACKBONE.NAME", "glyph-clip"]
    assert train.main(words) == 2
    assert "ImageNetA has only test images, so it cannot be used for training" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
