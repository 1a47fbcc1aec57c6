"""Kept test images: the numbers of a run that decodes, whatever it is evaluated on and whatever has become of the file.

Also which are kept and in which file, by whom it is written, and what kills and full disks leave.
"""

import contextlib
import copy
import errno
import json
import os
import types
from pathlib import Path

import numpy as np
import PIL
import pytest
import torch
import torchvision
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms

from modprompt.cli import train
from modprompt.clip.design import SHORTEST, SQUASH
from modprompt.io import arrays, image_files, lock
from modprompt.io.arrays import read_arrays
from modprompt.io.safe_open import Refused
from modprompt.trainers import image_cache
from modprompt.trainers.image_cache import ImageFile, KeptLoader, steps_of, with_kept_images
from tests.conftest import ROOT
from tests.killing import KILLED, in_child
from tests.methods import METHODS
from tests.modprompt.trainers.odd_images import NUMBER, loader_of, write_images
from tests.test_train import losses

SIZE = (24, 32)


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


@pytest.mark.cover(5)
@pytest.mark.parametrize("mode", [SHORTEST, SQUASH])
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("more", [{}, {"SIZE": (24, 40), "INTERPOLATION": "bilinear"}, {"TRANSFORMS": ()}], ids=str)
def test_batches_are_equal_to_the_bit_while_they_are_written_and_after(images, tmp_path, mode, workers, more):
    plain, loader = loader_of(images, mode, **more), kept(images, tmp_path / "kept", mode, workers=workers, **more)
    assert len(loader) == len(plain)
    for _ in range(2):
        assert same(loader, plain)
    assert same(kept(images, tmp_path / "kept", mode, **more), plain)


@pytest.mark.cover(2)
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


@pytest.mark.slow
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


@pytest.mark.cover(1)
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


# ------------------------------------------------------------------ the file


@pytest.fixture
def file_of(images, tmp_path):
    """Makes the file of the images under some settings of INPUT, in the folder kept."""

    def make(**settings):
        return ImageFile(loader_of(images, **settings), tmp_path / "kept", "Odd")

    return make


def names(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


@pytest.mark.cover(2)
@pytest.mark.parametrize("mode", [SHORTEST, SQUASH])
@pytest.mark.parametrize("workers", [0, 2])
def test_rows_are_the_images_as_the_transform_makes_them(images, tmp_path, mode, workers, capfd):
    loader = loader_of(images, mode, workers=workers, SIZE=SIZE)
    file = ImageFile(loader, tmp_path / "kept", "Odd")
    kept = file.rows()
    said = capfd.readouterr().out
    assert f"{NUMBER} test images are decoded once, into {file.path}: 0.0 MiB\n" in said
    assert NUMBER * 24 * 32 * 3 < file.path.stat().st_size < NUMBER * (24 * 32 * 3 + 4) + 3000
    steps = loader.dataset.transform.transforms
    for number, item in enumerate(loader.dataset.data_source):
        image = Image.open(item.impath).convert("RGB")
        for step in steps[: [type(one) for one in steps].index(transforms.ToTensor)]:
            image = step(image)
        assert np.array_equal(kept[number], np.asarray(image)), item.impath
    assert np.array_equal(file.rows()[3], kept[3])
    assert capfd.readouterr().out == ""  # no second time
    assert names(file.path.parent) == [file.path.name]


def test_writing_draws_nothing(file_of):
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    file_of().rows()
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]


def touch(images, monkeypatch):
    os.utime(images[3][0], (5, 5))


def grow(images, monkeypatch):
    path = Path(images[3][0])
    facts = path.stat()
    path.write_bytes(path.read_bytes() + b"x")
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def relabel(images, monkeypatch):
    images[3] = (images[3][0], 7)


def drop(images, monkeypatch):
    del images[3]


def reorder(images, monkeypatch):
    images[2:4] = images[3:1:-1]


def update_pillow(images, monkeypatch):
    monkeypatch.setattr(PIL, "__version__", "0.1")


def update_torchvision(images, monkeypatch):
    monkeypatch.setattr(torchvision, "__version__", "0.1")


@pytest.mark.parametrize(
    "change", [touch, grow, relabel, drop, reorder, update_pillow, update_torchvision], ids=lambda one: one.__name__
)
def test_another_list_file_or_package_is_another_file(images, file_of, monkeypatch, change):
    before = file_of().path
    assert file_of().path == before
    change(images, monkeypatch)
    assert file_of().path != before


def test_another_size_or_way_to_resize_is_another_file_and_what_comes_behind_is_none(images, file_of, tmp_path):
    files = [{}, {"SIZE": (24, 24)}, {"INTERPOLATION": "bilinear"}, {"mode": SQUASH}]
    paths = {file_of(**settings).path for settings in files}
    assert len(paths) == len(files)
    assert file_of(PIXEL_MEAN=[0.1, 0.2, 0.3], TRANSFORMS=("normalize",)).path in paths
    assert file_of(TRANSFORMS=()).path in paths


compose = transforms.Compose
resize, crop, tensor = transforms.Resize(8), transforms.CenterCrop(8), transforms.ToTensor()


@pytest.mark.parametrize(
    ("transform", "reason"),
    [
        (None, "has no ToTensor"),
        (tensor, "has no ToTensor"),
        ([compose([resize, crop, tensor])], "has no ToTensor"),
        (compose([resize, crop]), "has no ToTensor"),
        (compose([resize, crop, lambda image: image, tensor]), "a step that is not known, function"),
        (compose([transforms.RandomHorizontalFlip(), resize, crop, tensor]), "not known, RandomHorizontalFlip"),
        (compose([resize, tensor]), "does not make images of one size"),
        (compose([resize, crop, tensor, transforms.Normalize([0], [1]), crop]), "not known, CenterCrop"),
        (compose([resize, crop, tensor, transforms.RandomErasing()]), "not known, RandomErasing"),
        (compose([tensor]), "does not make images of one size"),
    ],
)
def test_other_transforms_are_refused(transform, reason):
    with pytest.raises(Refused, match=reason):
        steps_of(transform)


def test_known_transforms_are_taken_apart_in_front_of_the_tensor():
    steps = steps_of(compose([transforms.Resize([6, 8]), tensor]))
    assert (len(steps.before), steps.size, steps.normalize) == (1, (6, 8), None)
    assert steps_of(compose([resize, crop, tensor, transforms.Normalize([0], [1])])).size == (8, 8)


class Captioned(torch.utils.data.Dataset):
    """A data set that says more than Dassl's."""

    def __init__(self, inner):
        self.inner, self.transform, self.data_source = copy.copy(inner), inner.transform, inner.data_source

    def __len__(self):
        return len(self.inner)

    def __getitem__(self, index):
        self.inner.transform = self.transform
        return {**self.inner[index], "caption": "a picture"}


def test_data_sets_and_loaders_of_another_kind_are_refused(images, tmp_path):
    loader = loader_of(images)
    for other, reason in (
        (types.SimpleNamespace(dataset=loader.dataset, batch_size=4), "the loader is not one of Dassl's"),
        (DataLoader(loader.dataset, 4, collate_fn=list), "the loader is not one of Dassl's"),
        (DataLoader(Captioned(loader.dataset)), "gives other things with its images"),
        (loader_of(images, RETURN_IMG0=True), "gives other things with its images"),
    ):
        with pytest.raises(Refused, match=reason):
            ImageFile(other, tmp_path, "Odd")
    loader.dataset.__class__ = type("Other", (type(loader.dataset),), {"__getitem__": lambda self, index: {"img": 1}})
    with pytest.raises(Refused, match="does not give images as its transform makes them"):
        ImageFile(loader, tmp_path, "Odd")


def flip(path, name):
    """Flip a bit of an array."""
    raw, (array,) = bytearray(path.read_bytes()), read_arrays(path, name)
    raw[raw.index(array.tobytes()) + 4] ^= 16
    path.write_bytes(raw)


FAULTS = {
    "its first image": lambda path: flip(path, "rows"),
    "its list of CRCs": lambda path: flip(path, "crcs"),
    "what it stands for": lambda path: flip(path, "stands_for"),
    "no archive": lambda path: path.write_bytes(bytes(NUMBER * (32 * 32 * 3 + 4) + 64)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_file_that_does_not_fit_is_made_anew_with_a_line(file_of, capsys, fault):
    file = file_of()
    file.rows()
    whole = file.path.read_bytes()
    FAULTS[fault](file.path)
    capsys.readouterr()
    assert len(file_of().rows()) == NUMBER
    refused = [line for line in capsys.readouterr().out.splitlines() if f"{file.path} is refused (" in line]
    assert len(refused) == 1
    assert file.path.read_bytes() == whole


def test_images_that_decode_differently_here_are_made_anew(file_of, monkeypatch, capsys):
    """As with another build of a codec: nothing in the key tells."""
    file_of().rows()
    other = file_of()
    other._first = 255 - other._first
    with pytest.raises(Refused, match="its first image differs"):
        other.rows()  # the second time: what it has just written is none of its own
    assert "is refused (its first image differs from the one decoded here)" in capsys.readouterr().out


def test_while_another_process_writes_there_are_no_rows(file_of, capsys):
    file = file_of()
    held = lock.take(file.path.with_name(f".{file.path.name}.lock"))
    capsys.readouterr()
    try:
        assert file.rows() is None
    finally:
        held.release()
    assert capsys.readouterr().out == f"Another process writes {file.path}: test images are decoded meanwhile\n"
    assert names(file.path.parent) == []
    assert len(file.rows()) == NUMBER


def test_file_that_was_written_in_the_moment_before_is_taken(file_of, monkeypatch):
    mine, other = file_of(), file_of()
    clear = ImageFile._clear_away
    monkeypatch.setattr(ImageFile, "_clear_away", lambda self: (clear(self), self is mine and other.rows()))
    monkeypatch.setattr(mine, "_write", lambda: pytest.fail("it is written already"))
    assert len(mine.rows()) == NUMBER


def test_several_processes_at_once_write_one_file(file_of, tmp_path):
    children = []
    for number in range(4):
        child = os.fork()
        if not child:
            code = 1
            try:
                with (tmp_path / f"said{number}").open("w") as said, contextlib.redirect_stdout(said):
                    found = file_of().rows()
                code = 0 if found is None or len([found[one] for one in range(NUMBER)]) == NUMBER else 2
            finally:
                os._exit(code)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 4
    said = "".join((tmp_path / f"said{number}").read_text() for number in range(4))
    assert said.count("are decoded once") == 1
    assert "refused" not in said
    assert len(names(tmp_path / "kept")) == 1


@pytest.mark.slow
def test_killed_writers_leave_nothing_that_is_taken_for_whole_or_stays(file_of, tmp_path):
    counted, folder = tmp_path / "counted", tmp_path / "kept"
    assert in_child(lambda: file_of().rows(), 0, counted) == 0
    (whole,) = folder.glob("*.images")
    wanted = whole.read_bytes()
    for point in range(1, int(counted.read_text()) + 1):
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        assert in_child(lambda: file_of().rows(), point, counted) == KILLED
        assert not whole.exists()
        assert len(file_of().rows()) == NUMBER
        assert whole.read_bytes() == wanted
        assert names(folder) == [whole.name]


def test_what_a_writer_killed_amid_an_image_left_goes_with_the_next_one_of_any_file(file_of, tmp_path, monkeypatch):
    def half(self):
        yield np.zeros((3, 32, 32, 3), np.uint8)
        os._exit(KILLED)

    with monkeypatch.context() as patch:
        patch.setattr(ImageFile, "_blocks", half)
        assert in_child(lambda: file_of(INTERPOLATION="bilinear").rows(), 0, tmp_path / "counted") == KILLED
    (left,) = names(tmp_path / "kept")
    assert left.endswith(".part")
    file = file_of()
    file.rows()
    assert names(tmp_path / "kept") == [file.path.name]


def test_part_of_a_living_writer_stays(file_of, tmp_path):
    other = file_of(INTERPOLATION="bilinear").path
    held = lock.take(other.with_name(f".{other.name}.lock"))
    part = other.with_name(f".{other.name}.0123456789abcdef.part")
    part.write_text("half")
    try:
        file_of().rows()
    finally:
        held.release()
    assert part.exists()


def test_where_there_is_no_room_it_is_said_and_nothing_written(file_of, monkeypatch):
    space = types.SimpleNamespace(free=2**30 + 1000)
    monkeypatch.setattr(image_cache.shutil, "disk_usage", lambda folder: space)
    file = file_of()
    with pytest.raises(Refused, match=r"^they need 0.0 MiB, and 1.00 GiB are free there$"):
        file.rows()
    assert names(file.path.parent) == []
    space.free = 2**31
    assert len(file.rows()) == NUMBER


def test_disk_that_is_full_before_the_end_leaves_nothing(file_of, monkeypatch):
    class Full:
        def __init__(self, file):
            self.file, self.left = file, 2

        def write(self, content):
            self.left -= 1
            if not self.left:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.file.write(content)

    part_of = arrays.part_of

    @contextlib.contextmanager
    def full(path):
        with part_of(path) as file:
            yield Full(file)

    monkeypatch.setattr(arrays, "part_of", full)
    file = file_of()
    with pytest.raises(OSError, match="No space left"):
        file.rows()
    assert names(file.path.parent) == []


def test_images_that_change_while_they_are_decoded_are_not_kept(images, file_of, monkeypatch):
    file = file_of()
    os.utime(images[5][0], (7, 7))
    with pytest.raises(Refused, match="images were changed while they were decoded"):
        file.rows()
    assert names(file.path.parent) == []
