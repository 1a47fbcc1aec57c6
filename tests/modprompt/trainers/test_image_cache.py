"""Kept test images: the numbers of a run that decodes, whatever it is evaluated on and whatever has become of the file."""

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from modprompt.cli import train
from modprompt.clips.design import SHORTEST, SQUASH
from modprompt.storage import image_files
from modprompt.storage.arrays import read_arrays
from modprompt.trainers.image_cache import KeptLoader, with_kept_images
from tests.conftest import ROOT
from tests.methods import METHODS
from tests.modprompt.trainers.odd_images import NUMBER, loader_of, write_images
from tests.test_train import losses


@pytest.fixture
def images(tmp_path):
    return write_images(tmp_path / "pictures")


@pytest.fixture
def opened(monkeypatch):
    """The paths of the pictures that are opened in this process."""
    found, plain = [], image_files.open_regular
    monkeypatch.setattr(image_files, "open_regular", lambda path: found.append(path) or plain(path))
    return found


def kept(images, folder, *settings, **more):
    return with_kept_images(loader_of(images, *settings, **more), str(folder), "Odd")


def damage(file, *numbers):
    """Flip a bit of some images of 32 x 32 pixels."""
    raw, (rows,) = bytearray(file.read_bytes()), read_arrays(file, "rows")
    start = raw.index(rows.tobytes())
    for number in numbers:
        raw[start + number * 32 * 32 * 3 + 100] ^= 1
    file.write_bytes(raw)


def same(one, other):
    """Whether two loaders give the same batches to the bit, keys in their order included."""
    batches, others = list(one), list(other)
    assert [list(batch) for batch in batches] == [list(batch) for batch in others]
    for batch, expected in zip(batches, others):
        for key, value in expected.items():
            assert type(batch[key]) is type(value)
            equal = torch.equal(batch[key], value) if isinstance(value, torch.Tensor) else batch[key] == value
            assert equal, key
            assert not isinstance(value, torch.Tensor) or batch[key].dtype == value.dtype
    return True


@pytest.mark.parametrize("mode", [SHORTEST, SQUASH])
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("more", [{}, {"SIZE": (24, 40), "INTERPOLATION": "bilinear"}, {"TRANSFORMS": ()}], ids=str)
def test_batches_are_equal_to_the_bit_while_they_are_written_and_after(images, tmp_path, mode, workers, more):
    plain, loader = loader_of(images, mode, **more), kept(images, tmp_path / "kept", mode, workers=workers, **more)
    assert len(loader) == len(plain)
    for _ in range(2):
        assert same(loader, plain)
    assert same(kept(images, tmp_path / "kept", mode, **more), plain)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_order_and_draws_of_the_run_are_the_same(images, tmp_path, shuffle, workers):
    drawn = []
    for folder in ("", str(tmp_path / "kept")):
        plain = DataLoader(loader_of(images).dataset, 4, shuffle=shuffle, num_workers=workers)
        loader = with_kept_images(plain, folder, "Odd")
        torch.manual_seed(3)
        orders = [[index for batch in loader for index in batch["index"].tolist()] for _ in range(2)]
        drawn.append((orders, torch.rand(3).tolist()))
    assert drawn[0] == drawn[1]
    assert (drawn[0][0][0] == list(range(NUMBER))) is not shuffle


def test_kept_images_are_opened_no_more(images, tmp_path, opened):
    loader = kept(images, tmp_path / "kept")
    list(loader)
    assert len(opened) == NUMBER + 1
    for again in (loader, kept(images, tmp_path / "kept")):
        opened.clear()
        list(again)
        assert opened == [images[0][0]]  # whether this process decodes as the one that wrote


def test_without_a_folder_or_a_loader_there_is_nothing_between(images):
    loader = loader_of(images)
    assert with_kept_images(loader, "", "Odd") is loader
    assert with_kept_images(None, "kept", "Odd") is None


def test_loader_answers_for_the_one_it_stands_for(images, tmp_path):
    plain = loader_of(images)
    loader = KeptLoader(plain, str(tmp_path / "kept"), "Odd")
    assert (loader.dataset, loader.batch_size, loader.sampler) == (plain.dataset, 4, plain.sampler)
    with pytest.raises(AttributeError):
        loader.nothing  # noqa: B018
    assert not (tmp_path / "kept").exists()  # nobody has iterated


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_damaged_image_is_decoded_again_and_the_file_made_anew(images, tmp_path, capfd, workers):
    plain, loader = loader_of(images), kept(images, tmp_path / "kept", workers=workers)
    list(loader)
    (file,) = (tmp_path / "kept").glob("*.images")
    whole = file.read_bytes()
    damage(file, 4, 5, 6, 11)  # of several batches
    capfd.readouterr()
    assert same(loader, plain)
    said = [line for line in capfd.readouterr().out.splitlines() if "refused" in line]
    assert len(said) == 1
    assert said[0].startswith(f"{file} is refused (row ")
    assert not file.exists()
    assert same(loader, plain)  # in the same process
    assert file.read_bytes() == whole


def test_damage_in_a_file_that_may_not_be_removed_is_said_once(images, tmp_path, capsys, monkeypatch):
    loader = kept(images, tmp_path / "kept")
    list(loader)
    (file,) = (tmp_path / "kept").glob("*.images")
    damage(file, 5, 9)

    def refuse(path):
        raise PermissionError(13, "not yours", path)

    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refuse)
        assert same(loader, loader_of(images))
    assert capsys.readouterr().out.count("is refused (row 5 is damaged") == 1


def test_dataset_is_not_sent_with_its_images(images, tmp_path):
    """As to another process."""
    loader = kept(images, tmp_path / "kept", SIZE=(96, 96))
    list(loader)
    dataset = loader._kept()
    sent = pickle.dumps(dataset)
    assert len(sent) < 96 * 96 * 3
    assert torch.equal(pickle.loads(sent)[3]["img"], dataset[3]["img"])
    assert dataset[3]["img"].shape == (96, 96, 3)


@pytest.mark.parametrize("workers", [0, 2])
def test_where_they_cannot_be_kept_a_line_says_so_once(images, tmp_path, capsys, workers):
    (tmp_path / "kept").write_text("a file, and no folder")
    loader = kept(images, tmp_path / "kept", workers=workers)
    for _ in range(2):
        assert same(loader, loader_of(images))
    (said,) = [line for line in capsys.readouterr().out.splitlines() if "not kept" in line]
    assert said.startswith(f"Test images are not kept in {tmp_path / 'kept'} ([Errno ")
    assert said.endswith("): each evaluation decodes them")


@pytest.mark.parametrize("workers", [0, 2])
def test_transform_that_is_not_known_is_left_alone(images, tmp_path, capsys, workers):
    plain, loader = loader_of(images), kept(images, tmp_path / "kept", workers=workers)
    for one in (plain, loader):
        one.dataset.transform.transforms.append(torch.nn.Identity())
    assert same(loader, plain)
    assert "(the test transform has a step that is not known, Identity): each evaluation" in capsys.readouterr().out
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_image_that_cannot_be_decoded_ends_the_run_as_ever(images, tmp_path, capsys, workers):
    Path(images[6][0]).write_bytes(b"no picture")
    errors = []
    for loader in (loader_of(images, workers=workers), kept(images, tmp_path / "kept", workers=workers)):
        with pytest.raises((OSError, ValueError)) as raised:
            list(loader)
        errors.append((type(raised.value), str(raised.value).splitlines()[-1]))
    assert errors[0] == errors[1]
    assert f"Test images are not kept in {tmp_path / 'kept'} (" in capsys.readouterr().out
    assert not list((tmp_path / "kept").glob("*.images"))


@pytest.fixture
def run(command, tmp_path, monkeypatch, capsys):
    """Runs train.py on a row of methods, with kept images or without; gives what its result says, and its output."""

    def train_py(row, out, *more, cache=True):
        words = command(METHODS.get(row, row), *(["TEST.IMAGE_CACHE", tmp_path / "kept"] if cache else []))
        words[words.index("--output-dir") + 1] = str(tmp_path / out)
        first = [word for word in more if str(word).startswith("--")]
        assert train.main([*first, *words, *(str(word) for word in more if word not in first)]) == 0
        result = json.loads((tmp_path / out / "result.json").read_text())
        keys = ("accuracy_pct", "correct", "macro_f1_pct", "prompts_hash", "settings", "config_hash", "images_hash")
        return {key: result.get(key) for key in keys}, capsys.readouterr().out

    return train_py


@pytest.mark.slow
@pytest.mark.parametrize("mode", [SHORTEST, SQUASH])
@pytest.mark.filterwarnings("default::UserWarning")
def test_training_that_chooses_by_validation_is_the_same_run(run, tmp_path, mode):
    """Validation after every epoch: another draw in between would change what is trained."""
    more = ["TEST.FINAL_MODEL", "best_val", "INPUT.RESIZE_MODE", mode]
    plain, said = run("mpl", "plain", *more, cache=False)
    found, said_kept = run("mpl", "kept_run", *more)
    assert found == plain
    assert losses(said_kept) == losses(said)
    assert said_kept.count("test images are decoded once") == 2  # of validation and of test
    assert said_kept.count("Test images of ") == 3
    again, said_again = run("mpl", "again", *more)
    assert again == plain
    assert "decoded once" not in said_again
    assert "TEST.IMAGE_CACHE" not in plain["settings"]


def test_whether_they_are_kept_makes_no_other_run(run, tmp_path):
    plain, _ = run("ZeroshotCLIP", "out1", cache=False)
    found, said = run("ZeroshotCLIP", "out1", "--once")
    assert found == plain
    assert "Finished before: " in said
    assert not (tmp_path / "kept").exists()


def test_kept_features_need_no_images_and_are_made_of_kept_ones(run, tmp_path):
    features = ["TEST.FEATURE_CACHE", tmp_path / "features"]
    plain, _ = run("ZeroshotCLIP", "plain", cache=False)
    found, said = run("ZeroshotCLIP", "first", *features)
    assert "decoded once" in said
    assert found == plain
    (file,) = (tmp_path / "kept").glob("*.images")
    file.unlink()
    found, said = run("ZeroshotCLIP", "second", *features)
    assert found == plain
    assert "Test images" not in said
    assert not file.exists()


@pytest.mark.parametrize("name", ["ImageFolder", "EuroSAT"])
def test_readers_share_nothing_but_the_folder(command, tmp_path, capsys, name, eurosat_root):
    words = command("ZeroshotCLIP", "TEST.IMAGE_CACHE", tmp_path / "kept", "DATASET.SUBSAMPLE_CLASSES", "all")
    if name == "ImageFolder":
        words[words.index("--dataset-config-file") + 1] = str(ROOT / "configs/datasets/image_folder.yaml")
        words[words.index("--root") + 1] = str(eurosat_root / "eurosat" / "2750")
    for _ in range(2):
        assert train.main(words) == 0
    (file,) = (tmp_path / "kept").glob("*.images")
    assert file.name.startswith(f"{name}_")
    assert capsys.readouterr().out.count(f"Test images of {file}\n") == 2


def test_image_that_changes_between_two_evaluations_is_seen(images, tmp_path):
    loader = kept(images, tmp_path / "kept")
    list(loader)
    Image.new("RGB", (90, 70), "teal").save(images[1][0], format="PNG")
    assert same(loader, loader_of(images))
