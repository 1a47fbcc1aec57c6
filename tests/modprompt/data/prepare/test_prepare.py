"""From a recipe to the tree that a reader reads, from a server on this machine; and the check of a tree."""

import errno
import hashlib
import json
import tarfile

import pytest

import modprompt.data.readers.all  # noqa: F401 - registers
import modprompt.trainers.mpl  # noqa: F401 - SUBSAMPLE_CLASSES
from modprompt.data.prepare.__main__ import main
from modprompt.data.prepare.layout import prepare
from modprompt.data.prepare.recipe import Archive, ByHand, File, Recipe
from modprompt.data.prepare.recipes import RECIPES
from modprompt.data.published import SPLIT_SHA256
from modprompt.errors import UserError
from tests.modprompt.data import trees
from tests.modprompt.data.prepare.conftest import md5
from tests.modprompt.data.prepare.test_unpack import GOOD, tar_of, zip_of
from tests.modprompt.data.test_readers import read


def recipe(server, archive, name="data.tar.gz", moves=None, digest=None):
    server.files[name] = archive
    server.files["split.json"] = b"{}"
    return Recipe(
        "set",
        (
            File("split.json", url=server.url("split.json"), digest=md5(b"{}")),
            Archive(
                name,
                moves or {"inner/images": "images", "inner/list.txt": "lists/list.txt"},
                url=server.url(name),
                digest=md5(archive) if digest is None else digest,
            ),
        ),
    )


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(("make", "name"), [(tar_of, "data.tar.gz"), (zip_of, "data.zip")])
def test_complete_download_lays_out_the_tree_and_a_second_run_does_nothing(server, tmp_path, make, name):
    one = recipe(server, make(GOOD), name)
    assert prepare(one, tmp_path) == []
    assert tree(tmp_path / "set") == ["images/a.jpg", "images/b.jpg", "lists/list.txt", "split.json"]
    asked = len(server.asked)
    assert prepare(one, tmp_path) == []
    assert len(server.asked) == asked == 2


def test_full_disk_while_unpacking_leaves_nothing_half_unpacked(server, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    one = recipe(server, tar_of(GOOD))
    with monkeypatch.context() as patch:
        patch.setattr(tarfile.TarFile, "extract", full)
        with pytest.raises(UserError, match="cannot unpack into .*No space left"):
            prepare(one, tmp_path)
    assert tree(tmp_path / "set") == [".prepare/data.tar.gz", "split.json"]  # the archive need not be fetched again
    asked = len(server.asked)
    assert prepare(one, tmp_path) == []
    assert len(server.asked) == asked
    assert tree(tmp_path / "set") == ["images/a.jpg", "images/b.jpg", "lists/list.txt", "split.json"]


def test_users_files_are_never_written_over(server, tmp_path, capsys):
    folder = tmp_path / "set"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "mine.jpg").write_text("mine")
    (folder / "split.json").write_text("mine")
    prepare(recipe(server, tar_of(GOOD)), tmp_path)
    assert tree(folder) == ["images/mine.jpg", "lists/list.txt", "split.json"]
    assert (folder / "split.json").read_text() == "mine"
    assert "split.json is yours and is left alone, but it is not the published file" in capsys.readouterr().out


def test_leftovers_of_a_killed_run_are_cleared(server, tmp_path):
    left = tmp_path / "set" / ".prepare" / "data.tar.gz.unpacked" / "inner"
    left.mkdir(parents=True)
    (left / "half").write_text("half")
    assert prepare(recipe(server, tar_of(GOOD)), tmp_path) == []
    assert not (tmp_path / "set" / ".prepare").exists()


def test_archive_inside_an_archive_is_unpacked(server, tmp_path):
    outer = zip_of({"caltech-101/inner.tar.gz": tar_of({"101/a/1.jpg": b"x"})})
    one = recipe(server, outer, "outer.zip", {"caltech-101/inner.tar.gz//101": "101"})
    prepare(one, tmp_path)
    assert tree(tmp_path / "set") == ["101/a/1.jpg", "split.json"]


def test_missing_page_says_what_to_fetch_by_hand_and_other_steps_go_on(server, tmp_path):
    one = recipe(server, tar_of(GOOD))
    del server.files["split.json"]
    with pytest.raises(
        UserError, match=r"split.json: .*404.*fetch http.*split.json by hand and put it at .*set/split.json"
    ):
        prepare(one, tmp_path)
    assert (tmp_path / "set" / "images" / "a.jpg").is_file()


def test_what_must_be_done_by_hand_is_said(tmp_path):
    one = Recipe("set", (ByHand("cars_train", "take a mirror and put {target} into {folder}"),))
    assert prepare(one, tmp_path) == [f"by hand: take a mirror and put cars_train into {tmp_path / 'set'}"]
    (tmp_path / "set" / "cars_train").mkdir()
    assert prepare(one, tmp_path) == []


def test_every_reader_of_the_family_has_a_recipe_for_its_folders():
    from dassl.data.datasets import DATASET_REGISTRY

    assert len(RECIPES) == 16
    for name, one in RECIPES.items():
        reader = DATASET_REGISTRY.get(name)
        assert one.folder == reader.dataset_dir
        targets = [
            t for step in one.steps for t in (step.moves.values() if isinstance(step, Archive) else [step.target])
        ]
        assert any(target.startswith(reader.image_folder) for target in targets)
        split_file = getattr(reader, "split_file", "")
        assert not split_file or split_file in targets or name == "Caltech256"
        assert all(step.url.startswith("http") or step.drive for step in one.steps if not isinstance(step, ByHand))


def test_addresses_and_digests_are_those_of_torchvision():
    from torchvision import datasets as tv

    def step(name, file):
        return next(s for s in RECIPES[name].steps if isinstance(s, (Archive, File)) and s.url.endswith(f"/{file}"))

    assert step("DescribableTextures", "dtd-r1.0.1.tar.gz").url == tv.DTD._URL
    assert step("DescribableTextures", "dtd-r1.0.1.tar.gz").digest == f"md5:{tv.DTD._MD5}"
    assert step("Food101", "food-101.tar.gz").digest == f"md5:{tv.Food101._MD5}"
    assert step("SUN397", "SUN397.tar.gz").digest == f"md5:{tv.SUN397._DATASET_MD5}"
    assert step("FGVCAircraft", "fgvc-aircraft-2013b.tar.gz").url == tv.FGVCAircraft._URL
    for url, digest in tv.OxfordIIITPet._RESOURCES:
        one = step("OxfordPets", url.rpartition("/")[2])
        assert (one.url, one.digest) == (url, f"md5:{digest}")
    for file, digest in (tv.Flowers102._file_dict["image"], tv.Flowers102._file_dict["label"]):
        assert step("OxfordFlowers", file).url == tv.Flowers102._download_url_prefix + file
        assert step("OxfordFlowers", file).digest == f"md5:{digest}"


@pytest.fixture
def eurosat_recipe(server, eurosat_root, monkeypatch):
    """A served EuroSAT: the test tree as the published archive, its split as the published one."""
    full = read("EuroSAT", eurosat_root)
    folder = eurosat_root / "eurosat"
    archive = zip_of(
        {f"2750/{p.relative_to(folder / '2750')}": p.read_bytes() for p in (folder / "2750").rglob("*.jpg")}
    )
    content = json.loads((folder / "split_zhou_EuroSAT.json").read_text())
    del content["modprompt"]
    split = json.dumps(content, indent=4, separators=(",", ": ")).encode()
    monkeypatch.setitem(SPLIT_SHA256, "EuroSAT", hashlib.sha256(split).hexdigest())
    server.files.update({"EuroSAT.zip": archive, "split": split})
    one = Recipe(
        "eurosat",
        (
            File("split_zhou_EuroSAT.json", url=server.url("split"), digest=md5(split)),
            Archive("EuroSAT.zip", {"2750": "2750"}, url=server.url("EuroSAT.zip"), digest=md5(archive)),
        ),
        (len(full.train_x), len(full.val), len(full.test)),
    )
    monkeypatch.setitem(RECIPES, "EuroSAT", one)
    return one


def test_command_downloads_checks_and_is_read_by_the_reader(eurosat_recipe, tmp_path, capsys):
    root = tmp_path / "new"
    assert main(["EuroSAT", "--root", str(root), "--check"]) == 1
    assert f"EuroSAT: missing: {root / 'eurosat'}" in capsys.readouterr().err
    assert main(["EuroSAT", "--root", str(root)]) == 0
    before = tree(root)
    assert main(["EuroSAT", "--root", str(root), "--check"]) == 0
    out = capsys.readouterr().out
    assert "EuroSAT split: the published one" in out
    assert "EuroSAT train: 60 images (as published)" in out
    assert "EuroSAT: complete" in out
    assert tree(root) == before
    assert len(read("EuroSAT", root, 4, "base").train_x) == 20


def test_check_names_what_is_missing_miscounted_and_unreadable(eurosat_recipe, tmp_path, capsys):
    root = tmp_path / "new"
    main(["EuroSAT", "--root", str(root)])
    images = sorted((root / "eurosat" / "2750" / "River").iterdir())
    images[0].write_bytes(b"no image")
    capsys.readouterr()
    assert main(["EuroSAT", "--root", str(root), "--check"]) == 1
    assert f"unreadable image {images[0]}" in capsys.readouterr().err
    assert main(["EuroSAT", "--root", str(root), "--check", "--no-images"]) == 0
    images[1].unlink()
    assert main(["EuroSAT", "--root", str(root), "--check"]) == 1
    assert f"lists River/{images[1].name}, but there is no" in capsys.readouterr().err
    (root / "eurosat" / "split_zhou_EuroSAT.json").unlink()
    before = tree(root)
    assert main(["EuroSAT", "--root", str(root), "--check", "--no-images"]) == 1
    err = capsys.readouterr().err
    assert "missing: " in err
    assert "split_zhou_EuroSAT.json" in err
    assert tree(root) == before


@pytest.mark.parametrize("drawn", ["here", "by somebody"])
def test_check_does_not_take_a_home_made_split_for_the_published_one(eurosat_recipe, eurosat_root, capsys, drawn):
    path = eurosat_root / "eurosat" / "split_zhou_EuroSAT.json"
    content = json.loads(path.read_text())
    if drawn == "by somebody":
        del content["modprompt"]
        content["train"].reverse()
        path.write_text(json.dumps(content))
    elif drawn == "here":
        SPLIT_SHA256["EuroSAT"] = "0" * 64  # put back by the fixture
    assert main(["EuroSAT", "--root", str(eurosat_root), "--check", "--no-images"]) == 1
    said = capsys.readouterr()
    what = "drawn by this project" if drawn == "here" else "not known"
    assert f"EuroSAT: split: {what}" in said.err
    assert "so that numbers cannot be compared with papers: move" in said.err
    assert "EuroSAT: incomplete" in said.out
    assert "as published" not in said.out


def test_check_counts_data_sets_without_a_split_file(tmp_path, capsys):
    trees.imagenet_a(tmp_path)
    assert main(["ImageNetA", "--root", str(tmp_path), "--check", "--no-images"]) == 1
    assert "test: 9 images, published are 7,500" in capsys.readouterr().err
    trees.fgvc_aircraft(tmp_path)
    assert main(["FGVCAircraft", "--root", str(tmp_path), "--check", "--no-images"]) == 1
    assert "train: 31 images, published are 3,334" in capsys.readouterr().err
    trees.imagenet(tmp_path)
    assert main(["ImageNet", "--root", str(tmp_path), "--check", "--no-images"]) == 1
    assert "test: 20 images, published are 50,000" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["eurosta", "EuroSATT"])
def test_unknown_name_gets_the_nearest(name, capsys):
    assert main([name]) == 2
    err = capsys.readouterr().err
    assert f"error: there is no data set {name!r}; did you mean 'EuroSAT'?" in err
    assert err.count("\n") == 1


def test_data_set_without_a_download_is_one_line(capsys):
    assert main(["digits"]) == 2
    assert (
        capsys.readouterr().err == "error: Digits is not downloaded: its images come with a package, or are your own\n"
    )
