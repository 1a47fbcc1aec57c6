"""Tiny random SigLIPs of open_clip (on timm), each also as the package's own parts, run one by one.

Shapes: B images, C texts, L positions, D width of a side, E joint width.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from modprompt.clip.towers import Tower, TowerCLIP
from tests.other_clips import other_package, randomise
from tests.tower_clips import Words

LENGTH, IDS, PIXELS, PATCHES = 12, 1000, 16, 16  # length and ids as tower_clips.Words has them
KINDS = ("open_clip", "open_clip tanh", "open_clip no map")
CAUSAL_KINDS = ("open_clip causal", "open_clip causal eos")  # as PE's and MetaCLIP 2's: the end is the highest id, or 1
TEXT_WIDTH, TEXT_LAYERS, IMAGE_LAYERS, JOINT = 32, 3, 4, 48
IMAGE = {
    "img_size": PIXELS,
    "patch_size": 4,
    "embed_dim": JOINT,
    "depth": IMAGE_LAYERS,
    "num_heads": 2,
    "num_classes": 0,
}


class Started(Words):
    """With a start token."""

    def __init__(self, sha256: str, end: int):
        super().__init__(sha256)
        self.facts = self.facts._replace(end=end)

    def words(self, text: str) -> list[int]:
        return [number % 900 for number in super().words(text)]

    def row(self, text: str) -> list[int]:
        return [IDS - 2, *super().row(text)[:-1]]


class Parts(NamedTuple):
    """A side as its package has it.

    embed: makes tokens (B, L, D), with positions, of images, or of embedded words (C, L, D).
    blocks: the package's own.
    finish: features of tokens, and of texts the places (C,) of their end.
    """

    embed: Callable[[Tensor], Tensor]
    blocks: list[Callable[[Tensor], Tensor]]
    finish: Callable[..., Tensor]


class SigLIP(NamedTuple):
    """A package's modules of both sides, what it makes of inputs itself, its table of words (ids, D), and its parts."""

    tokenizer: Any

    text_module: nn.Module
    image_module: nn.Module
    encode_text: Callable[[Tensor], Tensor]
    encode_image: Callable[[Tensor], Tensor]
    table: Tensor
    text: Parts
    image: Parts


def made(kind: str, seed: int = 0) -> SigLIP:
    """A random SigLIP of a kind.

    "tanh" is the GELU of both sides, "no map" a text side without one behind it.
    """
    with torch.random.fork_rng():
        model = _open_clip(kind.partition(" ")[2])
    randomise(model.eval().requires_grad_(False), seed)
    return _parts_of_open_clip(model)


def _open_clip(variant: str) -> Any:
    (CustomTextCLIP,) = other_package("open_clip.model", "CustomTextCLIP")
    (VisionTransformer,) = other_package("timm.models.vision_transformer", "VisionTransformer")
    tanh, mapped, causal = variant == "tanh", variant != "no map", variant.startswith("causal")
    text: dict[str, Any] = {
        "context_length": LENGTH,
        "vocab_size": IDS,
        "width": TEXT_WIDTH if mapped else JOINT,
        "heads": 2,
        "layers": TEXT_LAYERS,
        "no_causal_mask": not causal,
        "pool_type": "eos" if variant.endswith("eos") else "argmax" if causal else "last",
        "eos_id": 1,
        "norm_kwargs": {"eps": 1e-6},
    }
    text.update({"proj_bias": not causal} if mapped else {"proj_type": "none"})
    text.update({"act_kwargs": {"approximate": "tanh"}} if tanh else {})
    image = {"image_size": 160, "timm_model_name": "test_vit", "timm_pool": "avg", "timm_proj": "none"}
    model: Any = CustomTextCLIP(JOINT, image, text)
    activation = "gelu_tanh" if tanh else None
    model.visual.trunk = VisionTransformer(**IMAGE, class_token=False, global_pool="map", act_layer=activation)
    return model


def _tokenizer(pool_type: str) -> Words:
    ends = {"argmax": IDS - 1, "eos": 1}
    return Started("6" * 64, ends[pool_type]) if pool_type in ends else Words("5" * 64)


def _block_of_open_clip(block: Callable[..., Tensor], causal: bool, x: Tensor) -> Tensor:
    mask = torch.full((x.shape[1],) * 2, float("-inf")).triu(1) if causal else None
    return block(x, attn_mask=mask)


def _parts_of_open_clip(model: Any) -> SigLIP:
    text, trunk, head = model.text, model.visual.trunk, model.visual.head

    def finish_text(x: Tensor, end: Tensor) -> Tensor:
        at_end = text.pool_type != "last"
        read = text.ln_final(x)[torch.arange(len(x)), end if at_end else -1]
        if text.text_projection is None:
            return read
        return read @ text.text_projection if at_end else text.text_projection(read)

    return SigLIP(
        _tokenizer(text.pool_type),
        text,
        model.visual,
        model.encode_text,
        model.encode_image,
        text.token_embedding.weight,
        Parts(
            lambda words: words + text.positional_embedding,
            [
                functools.partial(_block_of_open_clip, block, text.attn_mask is not None)
                for block in text.transformer.resblocks
            ],
            finish_text,
        ),
        Parts(
            lambda images: trunk._pos_embed(trunk.patch_embed(images)),
            list(trunk.blocks),
            lambda x: head(trunk.forward_head(trunk.norm(x))),
        ),
    )


def clip_of(found: SigLIP) -> TowerCLIP:
    """The CLIP of both sides."""
    image = Tower(found.image_module, PIXELS)
    text = Tower(found.text_module)
    return TowerCLIP(image, text, found.tokenizer, JOINT, 2.5)


def run_image(found: SigLIP, images: Tensor, steps: Any, new: Any) -> Tensor:
    """Features (B, E) with prompts behind the patches.

    Args:
        found: the model.
        images: (B, 3, H, W).
        steps: (remove, add) of each layer.
        new: of each layer the tokens (n, D) that come, or None.
    """
    x = found.image.embed(images)
    own = x.shape[1]
    for block, (remove, _), tokens in zip(found.image.blocks, steps, new):
        x = x[:, : x.shape[1] - remove]
        if tokens is not None:
            x = torch.cat([x, tokens.expand(len(x), -1, -1)], dim=1)
        x = block(x)
    return found.image.finish(x[:, :own])


def run_text(found: SigLIP, words: Tensor, put: Any, end: Any) -> Tensor:
    """Features (C, E) of texts.

    Args:
        found: the model.
        words: the embedded texts (C, L, D).
        put: changes the tokens (C, L, D) in front of each layer.
        end: the places (C,) of their end tokens.
    """
    x = found.text.embed(words)
    for layer, block in enumerate(found.text.blocks):
        x = block(put(layer, x))
    return found.text.finish(x, torch.as_tensor(end))
