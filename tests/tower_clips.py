"""Small CLIPs whose sides are stock or towers: made by hand, and with the image sides of open_clip's models."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from modprompt.clip import open_clip_models, open_clips
from modprompt.clip.facts import facts_of
from modprompt.clip.tokenizers import ClipTokenizer, Tokenizer, TokenizerFacts, TooLong
from modprompt.clip.towers import Tower, TowerCLIP
from tests import golden_towers
from tests.conftest import random_clip
from tests.other_clips import other_package

WIDTH = 32  # E, as of random_clip
PIXELS = 32


class Words(Tokenizer):
    """A tokenizer whose words are those between spaces, each an id by its hash; end is 1, padding 0."""

    def __init__(self, sha256: str):
        self.facts = TokenizerFacts("words", sha256, 12, 0, 1, "whitespace")

    def words(self, text: str) -> list[int]:
        return [2 + zlib.crc32(word.encode()) % 998 for word in text.split()]

    def word(self, number: int) -> str:
        return f"word {number}"

    def row(self, text: str) -> list[int]:
        ids = [*self.words(text), self.facts.end]
        if len(ids) > self.facts.length:
            raise TooLong
        return ids + [self.facts.padding] * (self.facts.length - len(ids))


class Pooled(nn.Module):
    """Images to features: what training mode would change is in it (batch statistics, dropped features)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 8, stride=8)
        self.norm = nn.BatchNorm2d(16)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(16, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.drop(self.norm(self.conv(x)).relu().mean(dim=(2, 3))))


class MeanOfWords(nn.Module):
    """Texts to features: the mean of the embeddings of what is no padding."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(1000, 24)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(24, WIDTH)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        there = (ids != 0).float()[..., None]
        return self.head(self.drop((self.table(ids) * there).sum(1) / there.sum(1)))


def tower_clip(
    text: str = "tower", image: str = "tower", *, bias: float | None = None, layers: int = 3, sha256: str = "5" * 64
) -> TowerCLIP:
    """A CLIP of these sides, each "stock" or "tower"; PyTorch draws on from where it was."""
    stock = random_clip(text_layers=layers, vision_layers=layers)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pooled, mean = Pooled(), MeanOfWords()
        for one in pooled.buffers():
            if one.is_floating_point():
                nn.init.uniform_(one, 0.5, 1.5)
    return TowerCLIP(
        Tower(pooled, PIXELS) if image == "tower" else stock.visual,
        Tower(mean) if text == "tower" else _text_of_open_clip(stock, layers),
        Words(sha256=sha256) if text == "tower" else ClipTokenizer(),
        WIDTH,
        2.5,
        bias,
    )


def _text_of_open_clip(stock: Any, layers: int) -> nn.Module:
    """The text side of a CLIP of the `clip` package as a module of open_clip's."""
    (TextTransformer,) = other_package("open_clip.transformer", "TextTransformer")
    QuickGELU = other_package("open_clip.transformer").QuickGELU
    with torch.random.fork_rng():
        side = TextTransformer(width=64, heads=1, layers=layers, output_dim=WIDTH, act_layer=QuickGELU)
    own = side.state_dict()
    side.load_state_dict({name: one for name, one in stock.state_dict().items() if name in own})
    return side


def _identity(clip_model: Any) -> tuple[str, Any]:
    facts = facts_of(clip_model)
    return facts.fingerprint, facts.tokenizer


def give(monkeypatch: pytest.MonkeyPatch, make: Callable[[], TowerCLIP]) -> list[str]:
    """Have trainers load these CLIPs, whatever is asked for; the options of a run that asks for the embedded one."""
    monkeypatch.setattr("modprompt.trainers.backbone.load_clip", lambda config: make())
    monkeypatch.setattr("modprompt.clip.load.identity", lambda clip: _identity(make()))
    bare = {"NAME": "glyph-clip", "PATH": "", "ACTIVATION": "", "HEADS": "()"}
    return [word for key, value in bare.items() for word in (f"MODEL.BACKBONE.{key}", value)]


IMAGE_SIDES: dict[str, dict[str, Any]] = {  # of open_clip's rows; empty for a golden case's
    **dict.fromkeys(("siglip", "eva", "convnext", "pe", "timm_vit", "clipa", "coca"), {}),
    "fastvit": {"timm_model_name": "fastvit_t8", "timm_pool": "avg", "timm_proj": None, "image_size": 64},
    "mobileclip_b": {"timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": None, "image_size": 160},
    "vitamin": {"timm_model_name": "vitamin_small_224", "timm_pool": "", "timm_proj": "linear", "image_size": 224},
}


def of_open_clip(name: str) -> tuple[TowerCLIP, Any]:
    """A CLIP with one of IMAGE_SIDES beside a stock text side, and open_clip's own module of the same weights."""
    model: dict[str, Any] = {"embed_dim": 48, "vision_cfg": IMAGE_SIDES[name]}
    if not IMAGE_SIDES[name]:
        model = golden_towers.case(f"open_clip/{name}").config
    image = {key: value for key, value in model["vision_cfg"].items() if key != "output_tokens"}  # a captioner's
    text = {"width": 64, "heads": 2, "layers": 2}
    model = {"embed_dim": model["embed_dim"], "vision_cfg": image, "text_cfg": text}
    with torch.random.fork_rng(devices=[]):
        package = other_package("open_clip").CustomTextCLIP(**model).eval()
    found = open_clip_models.build(
        open_clips.checked(model, "this: "), golden_towers.fill(package), ClipTokenizer(), "this"
    )
    if name == "mobileclip_b":
        image_side: Any = found.visual
        package.visual.trunk = image_side.module.trunk = _behind_convolutions(image["image_size"], model["embed_dim"])
    return found, package


def _behind_convolutions(pixels: int, joint: int) -> nn.Module:
    """MobileCLIP-B's image side, small: timm has it under a name in its whole size alone."""
    (VisionTransformer,) = other_package("timm.models.vision_transformer", "VisionTransformer")
    (ConvStem,) = other_package("timm.models.vision_transformer_hybrid", "ConvStem")
    (HybridEmbed,) = other_package("timm.layers", "HybridEmbed")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        stem = ConvStem(channels=(16, 16, 64), stride=(4, 2, 2), kernel_size=(4, 2, 2), padding=0, act_layer=nn.GELU)
        side = VisionTransformer(
            img_size=pixels, patch_size=1, embed_dim=64, depth=2, num_heads=2, num_classes=joint, no_embed_class=True,
            embed_layer=functools.partial(HybridEmbed, backbone=stem, proj=False),
        )  # fmt: skip
        for one in side.buffers():
            if one.is_floating_point():
                nn.init.uniform_(one, 0.5, 1.5)
    return side.eval().requires_grad_(False)
