"""From a recipe to the tree that a reader reads, from a server on this machine; and the check of a tree."""

import errno
import hashlib
import json
import tarfile
import zipfile

import pytest
from dassl.data.datasets import DATASET_REGISTRY

from modprompt.data.prepare.__main__ import main
from modprompt.data.prepare.layout import prepare
from modprompt.data.prepare.recipes import RECIPES, Step
from modprompt.data.published import SIZES, SPLIT_SHA256
from modprompt.errors import UserError
from tests.modprompt.data import trees
from tests.modprompt.data.prepare.conftest import md5
from tests.modprompt.data.prepare.test_unpack import GOOD, tar_of, zip_of
from tests.modprompt.data.test_readers import read


def steps_of(server, archive, name="data.tar.gz", moves=None):
    server.files.update({name: archive, "split.json": b"{}"})
    moves = moves or {"inner/images": "images", "inner/list.txt": "list.txt"}
    return [Step("split.json", server.url("split.json"), md5(b"{}")), Step(name, server.url(name), md5(archive), moves)]


TREE = ["images/a.jpg", "images/b.jpg", "list.txt", "split.json"]


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(("make", "name"), [(tar_of, "data.tar.gz"), (zip_of, "data.zip")])
def test_download_broken_off_by_a_full_disk_goes_on(server, tmp_path, make, name, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    steps = steps_of(server, make(GOOD), name)
    with monkeypatch.context() as patch:
        patch.setattr(tarfile.TarFile, "extract", full)
        patch.setattr(zipfile.ZipFile, "extractall", full)
        with pytest.raises(UserError, match="cannot be unpacked into .*No space left"):
            prepare(steps, tmp_path)
    assert tree(tmp_path) == [f".prepare/{name}", "split.json"]  # the archive need not be fetched again
    left = tmp_path / ".prepare" / f"{name}.unpacked" / "inner"  # by a killed run
    left.mkdir(parents=True)
    (left / "half").write_text("half")
    for _ in range(2):
        assert prepare(steps, tmp_path) == []
        assert tree(tmp_path) == TREE
        assert not (tmp_path / ".prepare").exists()
    assert len(server.asked) == 2


def test_users_files_are_never_written_over(server, tmp_path, capsys):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "mine.jpg").write_text("mine")
    (tmp_path / "split.json").write_text("mine")
    prepare(steps_of(server, tar_of(GOOD)), tmp_path)
    assert tree(tmp_path) == ["images/mine.jpg", "list.txt", "split.json"]
    assert (tmp_path / "split.json").read_text() == "mine"
    assert "split.json differs from the published file (its md5 is" in capsys.readouterr().out


def test_archive_inside_an_archive_is_unpacked(server, tmp_path):
    outer = zip_of({"caltech-101/inner.tar.gz": tar_of({"101/a/1.jpg": b"x"})})
    prepare(steps_of(server, outer, "outer.zip", {"caltech-101/inner.tar.gz//101": "101"}), tmp_path)
    assert tree(tmp_path) == ["101/a/1.jpg", "split.json"]


def test_what_must_be_done_by_hand_is_said_and_other_steps_go_on(server, tmp_path):
    by_hand = Step("cars_train", note="Take a mirror and put {target} into {folder}.")
    steps = [*steps_of(server, tar_of(GOOD)), by_hand]
    del server.files["split.json"]
    said = r"split.json failed: 404 .*download http.*split.json by hand and save it as .*/split.json\. \| .*by hand. Take a mirror"
    with pytest.raises(UserError, match=said):
        prepare(steps, tmp_path)
    assert (tmp_path / "images" / "a.jpg").is_file()
    assert prepare([by_hand], tmp_path) == [
        f"{tmp_path / 'cars_train'} must be added by hand. Take a mirror and put cars_train into {tmp_path}."
    ]
    (tmp_path / "cars_train").mkdir()
    assert prepare([by_hand], tmp_path) == []


def test_every_reader_of_the_family_has_a_recipe_for_its_folders():
    assert len(RECIPES) == 16
    wrong = []
    for name, steps in RECIPES.items():
        reader = DATASET_REGISTRY.get(name)
        targets, split_file = [target for step in steps for target in step.targets], getattr(reader, "split_file", "")
        wrong += [(name, one) for one in steps if not (one.url.startswith("http") or "{folder}" in one.note)]
        wrong += [] if any(target.startswith(reader.image_folder) for target in targets) else [name]
        wrong += [] if split_file in ("", *targets) or name == "Caltech256" else [(name, split_file)]
    assert wrong == []
    assert {*SIZES} <= {*RECIPES}


def test_addresses_and_digests_are_those_of_torchvision():
    from torchvision import datasets as tv

    steps = {step.name: step for steps in RECIPES.values() for step in steps}
    flowers = [tv.Flowers102._file_dict[name] for name in ("image", "label")]
    urls = [tv.DTD._URL, tv.FGVCAircraft._URL, *(url for url, _ in tv.OxfordIIITPet._RESOURCES)]
    urls += [tv.Flowers102._download_url_prefix + file for file, _ in flowers]
    assert [steps[url.rpartition("/")[2]].url for url in urls] == urls
    digests = {
        "dtd-r1.0.1.tar.gz": tv.DTD._MD5,
        "food-101.tar.gz": tv.Food101._MD5,
        "SUN397.tar.gz": tv.SUN397._DATASET_MD5,
    }
    digests |= {url.rpartition("/")[2]: digest for url, digest in tv.OxfordIIITPet._RESOURCES} | dict(flowers)
    assert {name: steps[name].digest for name in digests} == {name: f"md5:{md5}" for name, md5 in digests.items()}


@pytest.fixture
def eurosat_recipe(server, eurosat_root, monkeypatch):
    """A served EuroSAT: the test tree as the published archive, its split as the published one."""
    full = read("EuroSAT", eurosat_root)
    folder = eurosat_root / "eurosat"
    archive = zip_of({str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("2750/*/*.jpg")})
    content = json.loads((folder / "split_zhou_EuroSAT.json").read_text())
    del content["modprompt"]
    split = json.dumps(content, indent=4, separators=(",", ": ")).encode()
    monkeypatch.setitem(SPLIT_SHA256, "EuroSAT", hashlib.sha256(split).hexdigest())
    server.files.update({"EuroSAT.zip": archive, "split": split})
    steps = [
        Step("split_zhou_EuroSAT.json", server.url("split"), md5(split)),
        Step("EuroSAT.zip", server.url("EuroSAT.zip"), md5(archive), {"2750": "2750"}),
    ]
    monkeypatch.setitem(RECIPES, "EuroSAT", steps)
    monkeypatch.setitem(SIZES, "EuroSAT", (len(full.train_x), len(full.val), len(full.test)))


def check(capsys, root, expected, *texts, name="EuroSAT", more=()):
    """The check's exit code, and texts that it says; nothing is written."""
    before = tree(root)
    capsys.readouterr()
    code = main([name, "--root", str(root), "--check", *more])
    said = "".join(capsys.readouterr())
    assert (code, [text for text in texts if text not in said], tree(root)) == (expected, [], before), said
    return said


def test_command_downloads_and_checks_what_the_reader_reads(eurosat_recipe, tmp_path, capsys):
    root, quick = tmp_path / "new", ["--no-images"]
    check(capsys, root, 1, f"EuroSAT: The folder {root / 'eurosat'} is missing.")
    assert main(["EuroSAT", "--root", str(root)]) == 0
    published = (
        "EuroSAT: The split is the published split.",
        "EuroSAT train: 60 images (as published)",
        "The data set EuroSAT is complete.",
    )
    check(capsys, root, 0, *published)
    assert len(read("EuroSAT", root, 4, "base").train_x) == 20
    images = sorted((root / "eurosat" / "2750" / "River").iterdir())
    images[0].write_bytes(b"no image")
    check(capsys, root, 1, f"The image {images[0]} cannot be decoded")
    check(capsys, root, 0, more=quick)
    images[1].unlink()
    check(capsys, root, 1, f"lists River/{images[1].name}, but {images[1]} does not exist")
    split = root / "eurosat" / "split_zhou_EuroSAT.json"
    content = json.loads(split.read_text())
    split.unlink()
    check(capsys, root, 1, f"{split} is missing.", more=quick)
    images[1].write_bytes(b"an image")
    content["train"].reverse()
    split.write_text(json.dumps(content))  # one of somebody's is not taken for the published one
    faults = (
        "EuroSAT: The split is neither the published split nor a split drawn by modprompt",
        "so accuracies are not comparable with published results. Move",
        "The data set EuroSAT is incomplete.",
    )
    assert "as published" not in check(capsys, root, 1, *faults, more=quick)


@pytest.mark.parametrize(
    ("module", "counted"),
    [
        ("imagenet_a", "The test split has 9 images, but the published test split has 7,500."),
        ("fgvc_aircraft", "The train split has 31 images, but the published train split has 3,334."),
        ("caltech256", ""),  # without a published split or number
    ],
)
def test_check_counts_data_sets_without_a_split_file(module, counted, tmp_path, capsys):
    make, name, *_ = trees.DATA_SETS[module]
    make(tmp_path)
    check(capsys, tmp_path, int(bool(counted)), counted, name=name, more=["--no-images"])


def test_name_without_a_download_is_one_line(capsys):
    assert main(["digits"]) == 2
    said = "error: Digits cannot be downloaded, because the images are part of a Python package or are your own images. Remove Digits from the command.\n"
    assert capsys.readouterr().err == said
