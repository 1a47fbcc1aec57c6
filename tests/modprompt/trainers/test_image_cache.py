"""Kept test images: the numbers of a run that decodes, whatever it is evaluated on and whatever has become of the file.

Also which are kept and in which file, by whom it is written, and what kills and full disks leave.
"""

import copy
import io
import json
import os
import types
from pathlib import Path

import numpy as np
import PIL
import pytest
import torch
import torchvision
from dassl.config import get_cfg_default
from dassl.data.data_manager import build_data_loader
from dassl.data.datasets import Datum
from dassl.data.transforms import build_transform
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms

from modprompt.cli import train
from modprompt.clip.spec import SHORTEST, SQUASH
from modprompt.io import image_files, lock
from modprompt.io.files import Refused
from modprompt.trainers import image_cache
from modprompt.trainers.backbone import squash
from modprompt.trainers.image_cache import KeptImages, KeptLoader, with_kept_images
from tests.killing import KILLED, in_child

SIZE = (24, 32)
SIZES = ((50, 37), (37, 61), (32, 32), (17, 90), (9, 8), (1, 40), (33, 32))  # (width, height)
KINDS = (("RGB", "jpg"), ("L", "jpg"), ("CMYK", "jpg"), ("RGBA", "png"), ("P", "png"), ("LA", "png"), ("1", "png"))
NUMBER = len(SIZES) * 2


@pytest.fixture
def images(tmp_path):
    """(path, label) of pictures of all kinds and odd sizes."""
    rng, found = np.random.default_rng(0), []
    for number in range(NUMBER):
        (width, height), (mode, ending) = SIZES[number % 7], KINDS[(number + number // 7) % 7]
        pixels = rng.integers(0, 256, (height, width, 4), dtype=np.uint8)
        image = Image.fromarray(pixels, "RGBA" if mode in ("RGBA", "LA") else "CMYK" if mode == "CMYK" else None)
        path = tmp_path / f"{number}.{ending}"
        more = {"transparency": 3} if mode == "P" else {}
        image.convert("RGB" if mode == "P" else image.mode).convert(mode).save(path, **more)
        found.append((str(path), number % 3))
    return found


def loader_of(images, mode=SHORTEST, workers=0, **settings):
    """A test loader over images, made as a run makes it; settings are those of INPUT, or of DATALOADER if it has them."""
    cfg = get_cfg_default()
    cfg.INPUT.SIZE, cfg.INPUT.TRANSFORMS, cfg.INPUT.INTERPOLATION = (32, 32), ("normalize",), "bicubic"
    cfg.DATALOADER.NUM_WORKERS, cfg.USE_CUDA, cfg.VERBOSE = workers, False, False
    for key, value in settings.items():
        node = cfg.DATALOADER if key in cfg.DATALOADER else cfg.INPUT
        node[key] = value
    found = build_data_loader(
        cfg,
        cfg.DATALOADER.TEST.SAMPLER,
        [Datum(impath=path, label=label, classname=str(label)) for path, label in images],
        batch_size=4,
        tfm=build_transform(cfg, is_train=False),
        is_train=False,
    )
    if mode == SQUASH:
        squash([found], cfg.INPUT.SIZE)
    return found


@pytest.fixture
def opened(monkeypatch):
    """The paths of the pictures that are opened in this process."""
    found, plain = [], image_files.open_regular
    monkeypatch.setattr(image_files, "open_regular", lambda path: found.append(path) or plain(path))
    return found


def kept(images, folder, *settings, **more):
    return with_kept_images(loader_of(images, *settings, **more), str(folder), "Odd")


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


@pytest.mark.parametrize(
    ("mode", "workers", "more"),
    [(SHORTEST, 2, {}), (SQUASH, 0, {"SIZE": (24, 40), "INTERPOLATION": "bilinear"}), (SQUASH, 0, {"TRANSFORMS": ()})],
)
def test_batches_are_equal_to_the_bit_while_they_are_written_and_after(images, tmp_path, mode, workers, more):
    plain, loader = loader_of(images, mode, **more), kept(images, tmp_path / "kept", mode, workers=workers, **more)
    assert len(loader) == len(plain)
    for _ in range(2):
        assert same(loader, plain)
    assert same(kept(images, tmp_path / "kept", mode, **more), plain)


@pytest.mark.parametrize(("shuffle", "workers"), [(False, 0), (True, 2)])
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


def test_a_second_pass_examines_no_image_file(images, tmp_path, opened, monkeypatch):
    loader = kept(images, tmp_path / "kept")
    list(loader)
    assert len(opened) == NUMBER + 1
    opened.clear()
    with monkeypatch.context() as patch:
        patch.setattr(KeptImages, "_digest", lambda self: pytest.fail("the files are examined again"))
        list(loader)
    assert opened == []
    list(kept(images, tmp_path / "kept"))
    assert opened == [images[0][0]]  # whether this process decodes as the process that wrote the cache


def test_without_a_folder_or_a_loader_there_is_nothing_between(images):
    loader = loader_of(images)
    assert with_kept_images(loader, "", "Odd") is loader
    assert with_kept_images(None, "kept", "Odd") is None
    assert copy.copy(KeptLoader(loader, "kept", "Odd")).batch_size == 4


@pytest.mark.parametrize("workers", [0, 2])
def test_where_they_cannot_be_kept_a_line_says_so_once(images, tmp_path, capsys, workers):
    (tmp_path / "kept").write_text("a file, and no folder")
    loader = kept(images, tmp_path / "kept", workers=workers)
    for _ in range(2):
        assert same(loader, loader_of(images))
    (said,) = [line for line in capsys.readouterr().out.splitlines() if "not cached" in line]
    assert said.startswith(f"Test images are not cached in {tmp_path / 'kept'} ([Errno ")
    assert said.endswith("), so each evaluation decodes them again.")


def test_image_that_cannot_be_decoded_ends_the_run_as_ever(images, tmp_path, capsys):
    Path(images[6][0]).write_bytes(b"no picture")
    errors = []
    for loader in (loader_of(images), kept(images, tmp_path / "kept")):
        with pytest.raises((OSError, ValueError)) as raised:
            list(loader)
        errors.append((type(raised.value), str(raised.value).splitlines()[-1]))
    assert errors[0] == errors[1]
    assert f"Test images are not cached in {tmp_path / 'kept'} (" in capsys.readouterr().out
    assert not list((tmp_path / "kept").glob("*.npy"))


def test_whether_they_are_kept_makes_no_other_run(command, tmp_path, capsys):
    words = command("ZeroshotCLIP")
    assert train.main(words) == 0
    capsys.readouterr()
    assert train.main(["--once", *words, "TEST.IMAGE_CACHE", str(tmp_path / "kept")]) == 0
    assert "This run is already finished: " in capsys.readouterr().out
    assert "TEST.IMAGE_CACHE" not in json.loads((tmp_path / "out" / "result.json").read_text())["settings"]
    assert not (tmp_path / "kept").exists()


def test_image_that_changes_between_two_runs_is_seen(images, tmp_path):
    list(kept(images, tmp_path / "kept"))
    Image.new("RGB", (90, 70), "teal").save(images[1][0], format="PNG")
    assert same(kept(images, tmp_path / "kept"), loader_of(images))


# ------------------------------------------------------------------ the file


@pytest.fixture
def kept_of(images, tmp_path):
    """Images of a loader under some settings of INPUT, kept in the folder `kept`, before they are opened."""

    def make(**settings):
        return KeptImages(loader_of(images, **settings), tmp_path / "kept", "Odd")

    return make


def names(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


@pytest.mark.parametrize(("mode", "workers"), [(SHORTEST, 2), (SQUASH, 0)])
def test_rows_are_the_images_as_the_transform_makes_them(images, tmp_path, mode, workers, capfd):
    loader = loader_of(images, mode, workers=workers, SIZE=SIZE)
    kept = KeptImages(loader, tmp_path / "kept", "Odd")
    kept.open()
    assert f"Decoding {NUMBER} test images into the cache {kept.path} (0.0 MiB).\n" in capfd.readouterr().out
    rows = np.load(kept.path)
    assert (rows.dtype, rows.shape) == (np.uint8, (NUMBER, *SIZE, 3))
    steps = loader.dataset.transform.transforms
    for number, item in enumerate(loader.dataset.data_source):
        image = Image.open(item.impath).convert("RGB")
        for step in steps[: [type(one) for one in steps].index(transforms.ToTensor)]:
            image = step(image)
        assert np.array_equal(rows[number], np.asarray(image)), item.impath
    assert names(kept.path.parent) == [kept.path.name]


def test_other_images_packages_or_rules_are_another_file(images, kept_of, monkeypatch):
    paths = [kept_of().path]

    def is_another():
        paths.append(kept_of().path)
        return paths[-1] not in paths[:-1]

    assert not is_another()
    os.utime(images[3][0], (5, 5))
    assert is_another(), "touched"
    path = Path(images[3][0])
    before = path.stat()
    path.write_bytes(path.read_bytes() + b"x")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert is_another(), "longer, and as old"
    before = path.stat()
    path.write_bytes(path.read_bytes()[:-1] + b"y")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert is_another(), "as long, and as old"
    images.reverse()
    assert is_another(), "another order"
    images.pop(3)
    assert is_another(), "one less"
    monkeypatch.setattr(PIL, "__version__", "0.1")
    assert is_another(), "Pillow"
    monkeypatch.setattr(torchvision, "__version__", "0.1")
    assert is_another(), "torchvision"
    plain = image_files.as_rgb
    monkeypatch.setattr(image_files, "as_rgb", lambda *given: plain(*given).point(lambda value: value ^ 1))
    assert is_another(), "a codec that nothing but the pixels tells"
    paths.append(kept_of(DECODING=image_files.PEOPLE).path)
    assert paths[-1] not in paths[:-1], "decoded by the rule for photos"


def test_labels_are_the_runs_own(images, tmp_path):
    list(kept(images, tmp_path / "kept"))
    images[3] = (images[3][0], 7)
    assert same(kept(images, tmp_path / "kept"), loader_of(images))
    assert len(names(tmp_path / "kept")) == 1


def test_another_size_or_way_to_resize_is_another_file_and_what_comes_behind_is_none(kept_of):
    files = [{}, {"SIZE": (24, 24)}, {"INTERPOLATION": "bilinear"}, {"mode": SQUASH}]
    paths = {kept_of(**settings).path for settings in files}
    assert len(paths) == len(files)
    assert kept_of(PIXEL_MEAN=[0.1, 0.2, 0.3], TRANSFORMS=("normalize",)).path in paths
    assert kept_of(TRANSFORMS=()).path in paths


resize, tensor = transforms.Resize(8), transforms.ToTensor()


@pytest.mark.parametrize(
    ("transform", "reason"),
    [
        (tensor, "is not supported: $"),
        (transforms.Compose([resize, lambda image: image, tensor]), "is not supported: Resize, function, ToTensor"),
        (transforms.Compose([resize, tensor, transforms.RandomErasing()]), "is not supported: .*, RandomErasing"),
        (transforms.Compose([resize, tensor]), "returns images of different sizes"),
    ],
)
def test_other_transforms_are_refused(images, tmp_path, transform, reason):
    loader = DataLoader(loader_of(images).dataset, 1)
    loader.dataset.transform = transform
    with pytest.raises(Refused, match=reason):
        KeptImages(loader, tmp_path / "kept", "Odd").open()
    assert not list(tmp_path.glob("kept/*.npy"))


def test_data_sets_and_loaders_of_another_kind_are_refused(images, tmp_path):
    loader = loader_of(images)
    for other, reason in (
        (types.SimpleNamespace(dataset=loader.dataset, batch_size=4), "the data loader is not a Dassl data loader"),
        (DataLoader(loader.dataset, 4, collate_fn=list), "the data loader is not a Dassl data loader"),
        (loader_of(images, RETURN_IMG0=True), "have different fields than the samples of Dassl data sets"),
    ):
        with pytest.raises(Refused, match=reason):
            KeptImages(other, tmp_path, "Odd")


def test_file_that_does_not_fit_is_made_anew_with_a_line(images, tmp_path, capsys):
    list(kept(images, tmp_path / "kept"))
    (file,) = (tmp_path / "kept").glob("*.npy")
    whole, others = file.read_bytes(), io.BytesIO()
    np.save(others, np.zeros((3, 32, 32, 3), np.uint8))
    for content, said in (
        (whole[:-1], "is damaged ("),
        (bytes(5000), "is damaged ("),
        (others.getvalue(), "has the unexpected type uint8 or shape (3, 32, 32, 3)."),
    ):
        file.write_bytes(content)
        capsys.readouterr()
        assert same(kept(images, tmp_path / "kept"), loader_of(images)), said
        assert f"{file} {said}" in capsys.readouterr().out
        assert file.read_bytes() == whole


def test_while_another_process_writes_images_are_decoded(images, tmp_path, kept_of, capsys):
    file, loader = kept_of().path, kept(images, tmp_path / "kept")
    held = lock.take(file.with_name(f".{file.name}.lock"), "taken")
    try:
        assert same(loader, loader_of(images))
    finally:
        held.release()
    assert f"(another process is writing {file.name}), so each evaluation" in capsys.readouterr().out
    assert names(file.parent) == []
    list(loader)  # now it writes them
    assert names(file.parent) == [file.name]


@pytest.mark.slow
def test_killed_writers_leave_nothing_that_is_taken_for_whole_or_stays(kept_of, tmp_path):
    counted, folder = tmp_path / "counted", tmp_path / "kept"
    assert in_child(lambda: kept_of().open(), 0, counted) == 0
    (whole,) = folder.glob("*.npy")
    wanted = whole.read_bytes()
    for point in range(1, int(counted.read_text()) + 1):
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        assert in_child(lambda: kept_of().open(), point, counted) == KILLED
        assert not whole.exists()
        kept_of().open()
        assert whole.read_bytes() == wanted
        assert names(folder) == [whole.name]


def test_where_there_is_no_room_it_is_said_and_nothing_written(kept_of, monkeypatch):
    space = types.SimpleNamespace(free=2**30 + 1000)
    monkeypatch.setattr(image_cache.shutil, "disk_usage", lambda folder: space)
    kept = kept_of()
    with pytest.raises(
        Refused, match=r"^the cache needs 0.0 MiB and must leave 1,024 MiB free, but only 1,024.0 MiB are free$"
    ):
        kept.open()
    assert names(kept.path.parent) == []
    space.free = 2**31
    kept.open()
    assert names(kept.path.parent) == [kept.path.name]


def test_images_that_change_while_they_are_decoded_are_not_kept(images, kept_of):
    kept = kept_of()
    os.utime(images[5][0], (7, 7))
    with pytest.raises(Refused, match="images changed while they were decoded"):
        kept.open()
    assert names(kept.path.parent) == []
