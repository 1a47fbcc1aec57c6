"""CLIPs that open_clip and transformers have saved give what these packages make of them themselves.

Each shape is a random model of two to four layers a side in a folder of its own, with the package's own configs. What is
held against the package: the transform of images, features and logits of the module and of the engine, and gradients of
prompts against MPL written out once more over the package's own blocks.

Features and gradients may differ by 1e-5 of the largest: float32 sums in another order differ by about 1e-6. Pixels may
differ by 1e-6: both sides round an exact fraction of 255, minus the mean, over the deviation, to float32, in which
numbers around 2 are 2.4e-7 apart.

Shapes: B images, C classes, L tokens, D width of a side, E joint width, c context tokens.
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
from tests.other_clips import images_of, open_clip_folder, other_package, transformers_folder

TOLERANCE, PIXELS = 1e-5, 1e-6
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


def slow_but(*quick):
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in SHAPES]


@pytest.fixture(
    scope="module", params=slow_but("open_clip gelu 104 wrapped", "transformers gelu 80 bin", "transformers quick 64")
)
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


# ---------------------------------------------------------------------- MPL over the package's own blocks


class Parts(NamedTuple):
    """What a package's CLIP is made of, by what MPL needs of it."""

    words: Callable  # ids (C, L) to embeddings (C, L, D), without positions
    positions: torch.Tensor  # (L, D)
    text_layers: list  # of (tokens, mask (L, L) to be added) to tokens
    text_end: Callable  # tokens (C, D) to features (C, E)
    patches: Callable  # images to (B, L, D): class token, patches and their positions, before the first normalisation
    before: Callable
    image_layers: list
    image_end: Callable
    scale: torch.Tensor


def parts_of_open_clip(model):
    text, visual = getattr(model, "text", model), model.visual

    def patches(images):
        x = visual.conv1(images).flatten(2).transpose(1, 2)
        first = visual.class_embedding.expand(len(x), 1, -1)
        return torch.cat([first, x], dim=1) + visual.positional_embedding

    def layers(transformer):
        return [lambda x, mask, block=block: block(x, attn_mask=mask) for block in transformer.resblocks]

    return Parts(
        text.token_embedding,
        text.positional_embedding,
        layers(text.transformer),
        lambda x: text.ln_final(x) @ text.text_projection,
        patches,
        visual.ln_pre,
        layers(visual.transformer),
        lambda x: visual.ln_post(x) @ visual.proj,
        model.logit_scale.exp(),
    )


def mpl_logits(parts, params, ids, images, method):
    """(B, C) of MPL as its description has it: every class and token in every layer, prompts by hand."""
    n_ctx, depth = method.n_ctx, method.prompt_depth
    deep = [params[f"compound_prompts_text.{layer}"] for layer in range(depth - 1)]

    x = parts.words(ids)  # (C, L, D)
    x = torch.cat([x[:, :1], params["ctx"].expand(len(x), -1, -1), x[:, 1 + n_ctx :]], dim=1) + parts.positions
    mask = torch.full((x.shape[1],) * 2, float("-inf")).triu(1)
    for number, layer in enumerate(parts.text_layers):
        if 1 <= number < depth:
            x = torch.cat([x[:, :1], deep[number - 1].expand(len(x), -1, -1), x[:, 1 + n_ctx :]], dim=1)
        x = layer(x, mask)
    text = parts.text_end(x[torch.arange(len(x)), ids.argmax(1)])

    def project(name, tokens):
        return F.linear(tokens, params[f"{name}.weight"], params[f"{name}.bias"])

    x = parts.patches(images)
    x = parts.before(torch.cat([x, project("proj", params["ctx"]).expand(len(x), -1, -1)], dim=1))
    for number, layer in enumerate(parts.image_layers):
        if 1 <= number < depth:
            new = [project(f"txt2img_proj.{j}.{number - 1}", deep[number - 1]) for j in range(method.n_add_op)]
            x = torch.cat([x[:, : x.shape[1] - method.n_rm_op], torch.cat(new).expand(len(x), -1, -1)], dim=1)
        x = layer(x, None)
    image = parts.image_end(x[:, 0])
    return parts.scale * F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).t()


def gradients(loss, params):
    return dict(zip(params, torch.autograd.grad(loss, list(params.values()))))


def largest_difference(one, two):
    """Of gradients by name, as a part of the largest number in the first."""
    largest = max(value.abs().max() for value in one.values())
    return float(max((value - two[name]).abs().max() for name, value in one.items()) / largest)


def prompted(clip_model):
    """MPL on a CLIP, with prompts away from where they start."""
    torch.manual_seed(3)
    depth = min(3, *layers_of(clip_model))
    model = modprompt.MPL(n_ctx=2, n_add_op=2, n_rm_op=1, prompt_depth=depth).on(clip_model, NAMES)
    with torch.no_grad():
        for parameter in model.prompt_learner.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    return model


@pytest.mark.parametrize("pair", slow_but("open_clip gelu 104 wrapped")[:7], indirect=True)  # those of open_clip
def test_gradients_of_mpls_prompts_are_those_of_the_packages_own_blocks(pair):
    images, labels = batch(pair, 4), torch.tensor([0, 3, 5, 2])
    model = prompted(pair.ours)
    model.loss(images, labels).backward()
    ours = {name: parameter.grad for name, parameter in model.prompt_learner.named_parameters()}

    parts = parts_of_open_clip(pair.oracle)
    values = {name: value.detach().clone() for name, value in model.prompt_learner.named_parameters()}
    params = {name: value.clone().requires_grad_(True) for name, value in values.items()}
    ids = clip.tokenize([f"X X a photo of a {name}." for name in NAMES]).long()
    logits = mpl_logits(parts, params, ids, images, model.method)
    theirs = gradients(F.cross_entropy(logits, labels), params)

    assert difference(logits.detach(), model(images).detach()) <= TOLERANCE
    assert theirs.keys() == ours.keys()
    assert largest_difference(theirs, ours) <= TOLERANCE
    assert all(difference(value, ours[name]) <= 5 * TOLERANCE for name, value in theirs.items())  # the small ones, too
