"""CLIPs that open_clip and transformers have saved give what these packages make of them themselves.

Each shape is a random model of two to four layers a side in a folder of its own, with the package's own configs. What is
held against the package: the transform of images, features and logits of the module and of the engine.

Features may differ by 1e-5 of the largest: float32 sums in another order differ by about 1e-6. Pixels may
differ by 1e-6: both sides round an exact fraction of 255, minus the mean, over the deviation, to float32, in which
numbers around 2 are 2.4e-7 apart.

Shapes: B images, C classes, E joint width.
"""

import contextlib
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from clip import clip

import modprompt
from modprompt.clip.build import layers_of
from modprompt.clip.facts import facts_of
from modprompt.clip.load import load_clip
from tests.conftest import slow_but
from tests.other_clips import images_of, open_clip_folder, other_package, transformers_folder

TOLERANCE, PIXELS, STEP = 1e-5, 1e-6, 1e-3
NAMES = ["cat", "annual crop land", "golden retriever", "x", "sea or lake at dusk, seen from a satellite", "dog"]
TEXTS = ["a photo of a cat.", "x", "", "two dogs, playing with a red ball on the beach (1987)!", "many words " * 60]
END = 49407


class Shape(NamedTuple):
    """A CLIP to be written: by whom, with what; and what load_clip must find in it."""

    write: Callable[..., Any]
    config: dict
    dialect: str
    activation: str
    heads: tuple = (2, 2)
    stock: bool = False  # whether the `clip` package can build it


def of_open_clip(heads=(2, 2), stock=False, **config):
    activation = "quick_gelu" if config.get("quick_gelu") else "gelu"
    return Shape(open_clip_folder, config, "open_clip", activation, heads, stock)


def of_transformers(heads=(2, 2), stock=False, **config):
    return Shape(transformers_folder, config, "transformers", config["act"], heads, stock)


def tower(head, hidden, **more):
    """A transformers tower of two heads."""
    return {"hidden_size": 2 * head, "intermediate_size": hidden, **more}


HALVES = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
THREE, FOUR = {"layers": 3}, {"layers": 4}
THREE_LAYERS, FOUR_LAYERS = {"num_hidden_layers": 3}, {"num_hidden_layers": 4}
SHAPES = {
    # OpenAI's kind, which the `clip` package builds
    "open_clip quick 64": of_open_clip(
        quick_gelu=True, stock=True, text=THREE, image={**FOUR, "patch_size": 32, "image_size": 224}),
    # ViT-H's heads, bigG's ratio
    "open_clip gelu 80": of_open_clip(
        file="open_clip_pytorch_model.bin", text=THREE,
        image={**FOUR, "width": 160, "head_width": 80, "mlp_ratio": 4.9231, "patch_size": 14, "image_size": 224}),
    # ViT-g
    "open_clip gelu 88 half": of_open_clip(
        half=True, embed=128,
        image={"width": 176, "head_width": 88, "mlp_ratio": 4.3637, "patch_size": 14, "image_size": 224}),
    # ViT-bigG at another size, as a training run leaves it
    "open_clip gelu 104 wrapped": of_open_clip(
        file="epoch_3.pt", wrapped=True, images={"resize_mode": "squash", "interpolation": "bilinear"},
        image={"width": 208, "head_width": 104, "mlp_ratio": 4.9231, "patch_size": 14, "image_size": 336}),
    # DFN's images, and a text side of another ratio and heads 32 wide
    "open_clip quick 80 pt half": of_open_clip(
        quick_gelu=True, heads=(4, 2), half=True, file="open_clip_pytorch_model.pt", images={"resize_mode": "squash"},
        text={"heads": 4, "mlp_ratio": 4.3637},
        image={"width": 160, "head_width": 80, "patch_size": 14, "image_size": 224}),
    # the `clip` package's shape with the other activation, scale and images
    "open_clip gelu 64": of_open_clip(
        nonscalar_logit_scale=True, images={**HALVES, "interpolation": "bilinear"}, image={"image_size": 224}),
    "custom_text quick 64 shards": of_open_clip(
        quick_gelu=True, stock=True, custom_text=True, file="open_clip_model.safetensors.index.json",
        image={"patch_size": 16, "image_size": 224}),
    "transformers quick 64": of_transformers(
        act="quick_gelu", stock=True, text=THREE_LAYERS, image={**FOUR_LAYERS, "patch_size": 32, "image_size": 224}),
    "transformers gelu 80 bin": of_transformers(
        act="gelu", eos=2, file="pytorch_model.bin", text=THREE_LAYERS,
        image=tower(80, 787, **FOUR_LAYERS, patch_size=14, image_size=224)),
    "transformers gelu 104 shards bin": of_transformers(
        act="gelu", eos=2, half=True, file="pytorch_model.bin.index.json",
        images={"image_mean": [0.5, 0.4, 0.3], "image_std": [0.5, 0.25, 0.2]},
        image=tower(104, 1024, patch_size=14, image_size=336)),
    "transformers quick 80 squash": of_transformers(
        act="quick_gelu", eos=2, half=True, embed=160, file="model.safetensors.index.json",
        images={"size": {"height": 224, "width": 224}, "resample": 2},
        text=tower(80, 698), image=tower(80, 640, patch_size=16, image_size=224)),
}  # fmt: skip


class Pair(NamedTuple):
    """A folder, what its own package makes of it, and what load_clip does."""

    shape: Shape
    folder: Path
    oracle: Any
    preprocess: Callable
    ours: Any
    transform: Callable


QUICK = ("open_clip gelu 104 wrapped", "transformers gelu 80 bin", "transformers quick 64")


@pytest.fixture(scope="module", params=slow_but(SHAPES, *QUICK))
def pair(request, tmp_path_factory):
    shape = SHAPES[request.param]
    folder = tmp_path_factory.mktemp("oracle") / "clip"
    with no_network():
        oracle, preprocess = shape.write(folder, **shape.config)
        ours, transform = load_clip(folder, "cpu")
    yield Pair(shape, folder, oracle.requires_grad_(False), preprocess, ours, transform)
    shutil.rmtree(folder)


@contextlib.contextmanager
def no_network():
    """Fail where anything looks for another computer."""

    def refuse(*args):
        raise AssertionError(f"the network was asked for: {args[1:]}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        yield


def difference(one, two):
    """The largest, as a part of the largest number of the first."""
    assert one.shape == two.shape
    return float((one - two).abs().max() / one.abs().max())


def raw_features(oracle, images, ids):
    """Image features (B, E) and text features (C, E) by the package's own forward, not normalised."""
    with torch.no_grad():
        if hasattr(oracle, "text_model"):
            return oracle.get_image_features(images).pooler_output, oracle.get_text_features(ids).pooler_output
        return oracle.encode_image(images), oracle.encode_text(ids)


def own_logits(oracle, images, ids):
    """Logits (B, C) by the package's own forward."""
    with torch.no_grad():
        if hasattr(oracle, "text_model"):
            return oracle(input_ids=ids, pixel_values=images).logits_per_image
        return oracle.get_logits(images, ids)[0]


def batch(pair, count=3):
    return torch.stack([pair.preprocess(picture) for picture in images_of(0, count)])


# ---------------------------------------------------------------------- images, features, logits


def test_it_is_loaded_as_what_it_is_with_the_packages_images(pair):
    facts = facts_of(pair.ours)
    assert (facts.name, facts.file, facts.dialect) == ("", "clip", pair.shape.dialect)
    assert (facts.activation, facts.heads) == (pair.shape.activation, pair.shape.heads)
    assert type(pair.ours).__module__ == ("clip.model" if pair.shape.stock else "modprompt.clip.towers")
    assert {value.dtype for value in pair.ours.state_dict().values()} == {torch.float32}
    parameters = sum(value.numel() for value in pair.oracle.parameters())
    assert sum(value.numel() for value in pair.ours.parameters()) == parameters
    for size in ((500, 375), (375, 500)):
        picture = images_of(1, 1, size)[0]
        assert (pair.preprocess(picture) - pair.transform(picture)).abs().max() <= PIXELS


def test_features_and_logits_are_the_packages(pair):
    """Also of texts that are filled up with end tokens, as transformers' tokeniser does it: the end is the first."""
    images, ids = batch(pair), clip.tokenize(TEXTS, truncate=True).long()
    filled = ids.masked_fill(torch.arange(ids.shape[1]) > ids.argmax(1, keepdim=True), END)
    image, text = raw_features(pair.oracle, images, ids)
    _, same = raw_features(pair.oracle, images[:1], filled)
    with torch.no_grad():
        assert difference(image, pair.ours.encode_image(images)) <= TOLERANCE
        for theirs, ours in ((text, ids), (same, ids), (same, filled)):
            assert difference(theirs, pair.ours.encode_text(ours)) <= TOLERANCE
        assert difference(own_logits(pair.oracle, images, ids), pair.ours(images, ids)[0]) <= TOLERANCE
    assert difference(image[:1], image[1:2]) > 0.1  # images, and texts, are told apart
    assert difference(text[:1], text[1:2]) > 0.1


def test_engine_without_prompts_gives_the_packages_features_and_logits(pair):
    model = modprompt.ZeroshotCLIP().on(pair.ours, NAMES)
    images, ids = batch(pair), clip.tokenize([f"a photo of a {name}." for name in NAMES])
    image, text = raw_features(pair.oracle, images, ids)
    with torch.no_grad():
        prompts = model.prompt_learner()
        assert difference(image, model.encode_image(images)) <= TOLERANCE
        assert difference(text, model.text_encoder(prompts.text[0], prompts.text_additions)[0]) <= TOLERANCE
        assert difference(own_logits(pair.oracle, images, ids), model(images)) <= TOLERANCE


def test_tokens_are_open_clips():
    tokenize = other_package("open_clip").tokenize
    texts = [*TEXTS[:-1], "Ünïcode, &amp; HTML &lt;b&gt;", "  CAPITALS\tand   spaces\n"]
    assert torch.equal(clip.tokenize(texts).long(), tokenize(texts))
    assert torch.equal(clip.tokenize(TEXTS, truncate=True).long(), tokenize(TEXTS))


# ---------------------------------------------------------------------- gradients


def test_gradients_of_prompts_are_the_slope_of_the_loss(pair):
    """Along themselves, by losses without gradients, in which layers run their own modules."""
    images, labels = batch(pair, 4), torch.tensor([0, 3, 5, 2])
    torch.manual_seed(3)
    depth = min(3, *layers_of(pair.ours))
    model = modprompt.MPL(n_ctx=2, n_add_op=2, n_rm_op=1, prompt_depth=depth).on(pair.ours, NAMES)
    learned = list(model.prompt_learner.parameters())
    gradients = torch.autograd.grad(model.loss(images, labels), learned)
    length, losses = torch.cat([one.flatten() for one in gradients]).norm(), []
    with torch.no_grad():
        for step in (STEP, -2 * STEP):
            for one, gradient in zip(learned, gradients):
                one.add_(gradient, alpha=float(step / length))
            losses.append(float(F.cross_entropy(model(images), labels)))
    assert (losses[0] - losses[1]) / (2 * STEP) == pytest.approx(float(length), rel=1e-2)
