"""Images that go as bytes are, to the bit, those that the transform makes; where that cannot be, nothing changes.

The CPU stands for the GPU: what makes numbers of bytes runs there alike.
"""

import json
import random

import numpy as np
import pytest
import torch
from dassl.config import get_cfg_default
from dassl.data.data_manager import build_data_loader
from dassl.data.datasets import Datum
from dassl.data.transforms import build_transform
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms

import modprompt
from modprompt.cli import train
from modprompt.clip import byte_images
from modprompt.clip.design import OPENAI_MEAN, OPENAI_STD, SQUASH, Images
from modprompt.clip.load import image_transform
from modprompt.trainers import image_cache
from modprompt.trainers.image_cache import with_kept_images
from modprompt.use import prediction
from modprompt.use.trained import open_trained
from tests.conftest import ROOT, bare
from tests.fake_cuda import child
from tests.methods import METHODS, SEARCHES
from tests.modprompt.trainers.odd_images import loader_of, write_images
from tests.modprompt.trainers.test_image_cache import same
from tests.modprompt.use.made import model_of
from tests.test_train import losses

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
_plain_way = byte_images.way_of


def way_here(transform, device=CUDA):
    """The way to a GPU, whose images stay on the CPU."""
    way = _plain_way(transform, CUDA)
    way.device = CPU
    return way


@pytest.fixture
def as_to_a_gpu(monkeypatch):
    """Has the CPU be sent bytes; gives the batches of them that became numbers."""
    batches, plain = [], byte_images.Way.numbers
    for module in (byte_images, image_cache, prediction):
        monkeypatch.setattr(module, "way_of", way_here)
    monkeypatch.setattr(byte_images.Way, "numbers", lambda way, images: batches.append(images) or plain(way, images))
    return batches


def picture(seed=0, size=(64, 48)):
    """All bytes in each channel, and more, in no order."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    pixels.reshape(-1, 3)[:256] = np.arange(256)[:, None]
    return Image.fromarray(pixels)


TAILS = {
    "OpenAI's": [transforms.ToTensor(), transforms.Normalize(OPENAI_MEAN, OPENAI_STD)],
    "odd": [transforms.ToTensor(), transforms.Normalize((0.1, -3.0, 1 / 3), (1e-3, 7.0, 0.3))],
    "not normalised": [transforms.ToTensor()],
}


@pytest.mark.parametrize("tail", TAILS)
def test_every_byte_becomes_the_number_that_the_transform_makes(tail):
    transform = transforms.Compose(TAILS[tail])
    way, pictures = way_here(transform), [picture(seed) for seed in range(3)]
    sent = torch.stack([way.picture(one) for one in pictures])
    assert (sent.dtype, sent.shape) == (torch.uint8, (3, 48, 64, 3))
    numbers = way.numbers(sent)
    assert torch.equal(numbers, torch.stack([transform(one) for one in pictures]))
    assert numbers.is_contiguous()
    assert numbers.dtype == torch.float32


@pytest.mark.parametrize("colours_first", [False, True])
def test_transform_of_a_trained_model_goes_as_bytes(colours_first):
    transform = image_transform(Images(32, OPENAI_MEAN, OPENAI_STD, "bicubic", SQUASH), colours_first)
    way = way_here(transform)
    assert way.last is not None
    assert torch.equal(way.numbers(way.picture(picture())[None])[0], transform(picture()))


def train_loader(images, workers, *steps, keeps=False):
    """The training loader of a run, whose images are drawn anew each time."""
    cfg = get_cfg_default()
    cfg.INPUT.SIZE, cfg.INPUT.TRANSFORMS, cfg.INPUT.INTERPOLATION = (32, 32), steps, "bicubic"
    cfg.DATALOADER.NUM_WORKERS, cfg.USE_CUDA, cfg.VERBOSE = workers, False, False
    cfg.DATALOADER.KEEP_IMAGES = keeps
    items = [Datum(impath=path, label=label, classname=str(label)) for path, label in images]
    return build_data_loader(cfg, "RandomSampler", items, batch_size=4, tfm=build_transform(cfg), is_train=True)


@pytest.fixture
def images(tmp_path):
    return write_images(tmp_path / "pictures")


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("keeps", [False, True])
def test_two_epochs_of_training_images_are_the_same_with_the_same_draws(images, workers, keeps, as_to_a_gpu):
    found, steps = [], ("random_resized_crop", "random_flip", "colorjitter", "normalize")
    for device in (None, CUDA):
        loader = train_loader(images, workers, *steps, keeps=keeps)
        loader = loader if device is None else byte_images.sent(loader, device)
        torch.manual_seed(5)
        random.seed(5)
        found.append([*loader, *loader, {"drawn": torch.rand(3), "other": torch.tensor(random.random())}])
    assert same(*found)
    assert [batch.dtype for batch in as_to_a_gpu] == [torch.uint8] * 6
    assert not same_images(found[0][0], found[0][3])  # another view in each epoch


def same_images(one, other):
    return torch.equal(one["img"], other["img"])


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("keeps", [False, True])
def test_test_images_of_all_kinds_are_the_same_kept_or_not(images, tmp_path, workers, keeps, as_to_a_gpu):
    plain = loader_of(images, workers=workers)
    loader = with_kept_images(plain, str(tmp_path / "kept") if keeps else "", "Odd", CUDA)
    for _ in range(2):
        assert same(loader, plain)
    assert [batch.dtype for batch in as_to_a_gpu] == [torch.uint8] * 8
    assert (loader.dataset, loader.batch_size, len(loader)) == (plain.dataset, 4, 4)
    assert next(iter(DataLoader(loader.dataset)))["img"].dtype == torch.float32  # it is what it was


class Own:
    """A step of somebody's own."""

    def __call__(self, image):
        return image


@pytest.mark.parametrize(
    "transform",
    [
        None,
        Own(),
        [transforms.Compose(TAILS["OpenAI's"])] * 2,
        transforms.Compose([transforms.Resize(4)]),
        transforms.Compose([Own(), *TAILS["OpenAI's"]]),
        transforms.Compose([transforms.Grayscale(), transforms.ToTensor()]),
        transforms.Compose([*TAILS["OpenAI's"], transforms.RandomErasing()]),
        transforms.Compose([*TAILS["OpenAI's"], Own()]),
        transforms.Compose([transforms.Normalize((0,), (1,)), transforms.ToTensor()]),
    ],
    ids=["none", "own", "two", "no tensor", "own before", "grey", "erasing", "own behind", "normalised before"],
)
def test_other_transforms_send_what_they_make(transform):
    way = way_here(transform)
    assert way.last is None
    assert way.picture is transform
    numbers = torch.rand(2, 3, 4, 4)
    assert torch.equal(way.numbers(numbers), numbers)


@pytest.mark.parametrize("step", ["cutout", "gaussian_noise", "instance_norm", "gaussian_blur", "random_translation"])
def test_settings_with_other_steps_keep_their_loader(images, step):
    loader = train_loader(images, 0, "normalize", step)
    assert byte_images.sent(loader, CUDA) is loader


def test_a_cpu_another_dassl_and_no_loader_are_left_alone(images):
    loader = loader_of(images)
    assert byte_images.sent(loader, CPU) is loader
    others = DataLoader([1, 2])
    assert byte_images.sent(others, CUDA) is others
    assert byte_images.sent(None, CUDA) is None


# ------------------------------------------------------------------ runs


RUNS = {
    "MPL": ("mpl", []),
    "a head": ("TipAdapterF", []),
    "a search": ("dpl_search", []),
    "features": ("ZeroshotCLIP", ["TEST.KEEP_FEATURES", "True"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", RUNS)
def test_runs_have_the_same_losses_and_results(what, command, tmp_path, capsys, request):
    row, more = RUNS[what]
    found = []
    for out in ("plain", "bytes"):
        batches = request.getfixturevalue("as_to_a_gpu") if out == "bytes" else []
        words = command({**METHODS, **SEARCHES}.get(row, row), *more)
        words[words.index("--output-dir") + 1] = str(tmp_path / out)
        assert train.main(words) == 0
        result = json.loads((tmp_path / out / "result.json").read_text())
        keys = ("accuracy_pct", "correct", "macro_f1_pct", "ece_pct", "prompts_hash")
        found.append(({key: result.get(key) for key in keys}, losses(capsys.readouterr().out)))
    assert found[0] == found[1]
    assert batches
    assert {one.dtype for one in batches} == {torch.uint8}


def test_predictions_are_the_same(tmp_path, as_to_a_gpu, monkeypatch):
    model_of(modprompt.MPL).save(tmp_path / "a.pt")
    trained, paths = open_trained(tmp_path / "a.pt", device="cpu"), [tmp_path / f"{seed}.png" for seed in range(3)]
    for seed, path in enumerate(paths):
        picture(seed).save(path)
    found = list(prediction.predict(*trained[:2], paths, batch_size=2))
    assert [batch.dtype for batch in as_to_a_gpu] == [torch.uint8] * 2
    monkeypatch.setattr(prediction, "way_of", _plain_way)
    assert found == list(prediction.predict(*trained[:2], paths, batch_size=2))


@pytest.mark.slow
def test_a_quarter_of_the_bytes_goes_to_a_card_and_nothing_waits(clip_file, eurosat_root, small_config, tmp_path):
    options = [*bare(clip_file), *METHODS["mpl"].words, "DATASET.NUM_SHOTS", "2", "TRAINER.MPL.PREC", "fp16"]
    files = [str(small_config), str(ROOT / "configs/datasets/eurosat.yaml")]
    flags = {"DATASET.ROOT": str(eurosat_root), "SEED": 1, "OUTPUT_DIR": str(tmp_path), "TRAINER.NAME": "MPL"}
    found = child.run("tests.modprompt.clip.on_a_card:copied", files, flags, options)
    images = 4 * 3 * 32 * 32
    assert found["train, before"]["image bytes"] == found["test, before"]["image bytes"] == 4 * images
    assert found["train"]["image bytes"] == found["test"]["image bytes"] == images
    assert {counts["waits"] for counts in found.values()} == {0}
    assert {counts["images"] for counts in found.values()} == {"torch.float32 cuda"}
