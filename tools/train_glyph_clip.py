"""Train the small CLIP that ships with the project, only on rendered type.

    pip install --no-deps -r tools/fonts.txt
    python -m tools.train_glyph_clip

OpenAI's architecture (arXiv 2103.00020) at toy size: 32-pixel images, 8 layers a side. Every batch pairs glyphs of
typefaces with captions from templates; the loss is CLIP's, over the distinct captions of the batch. No handwriting is
read by this program.
"""

from __future__ import annotations

import argparse
import importlib
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from modprompt.clip.package import import_clip
from modprompt.clip.towers import CLIP, VisionTransformer
from modprompt.engine.blocks import causal_after, run_block
from modprompt.programs import report
from tools.glyphs import CHARACTERS, NUMERALS, Glyphs, colour, distort, families, render_families

TEMPLATES = (
    "{}.",
    "a {}.",
    "the {}.",
    "one {}.",
    "a photo of a {}.",
    "a photo of the {}.",
    "a photo of one {}.",
    "a picture of a {}.",
    "a picture of the {}.",
    "an image of a {}.",
    "a bad photo of the {}.",
    "a good photo of a {}.",
    "itap of a {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a photo of the small {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a drawing of a {}.",
    "a rendering of a {}.",
    "a print of the {}.",
    "a close-up photo of a {}.",
    "a black and white photo of the {}.",
    "a blurry photo of a {}.",
    "a low resolution photo of the {}.",
    "a cropped photo of the {}.",
    "a {} on paper.",
    "a {} in ink.",
    "the written {}.",
    "this is a {}.",
)
NUMERAL_NAMES = ("{}", "number {}", "digit {}", "numeral {}", "figure {}")
LETTER_NAMES = ("letter {}", "character {}")
FILLER = ("x", "x", "x", "photo", "image", "text", "sign")  # words without meaning before a caption
_CONTEXT = 24  # tokens kept of a caption; attention is causal, so what follows the end cannot matter


def caption(character: int, rng: random.Random) -> str:
    """A random caption of a character: `the number seven.`, `X X a photo of a letter g.`"""
    symbol = CHARACTERS[character]
    if symbol.isdigit():
        name = rng.choice(NUMERAL_NAMES).format(NUMERALS[character])
    else:
        name = rng.choice(LETTER_NAMES).format(symbol.lower())
    text = rng.choice(TEMPLATES).format(name)
    if rng.random() < 0.3:
        text = " ".join(rng.choice(FILLER) for _ in range(rng.randint(1, 4))) + " " + text
    return text


def build(width: int) -> CLIP:
    """A CLIP with random weights: 8 layers of `width` on the image side, 8 of 64 on the text side, joint width 64."""
    model: CLIP = importlib.import_module("clip.model").CLIP(
        embed_dim=64,
        image_resolution=32,
        vision_layers=8,
        vision_width=width,
        vision_patch_size=8,
        context_length=77,
        vocab_size=49408,
        transformer_width=64,
        transformer_heads=1,
        transformer_layers=8,
    )
    return model


class Words:
    """The tokens that captions can hold; only their embeddings are trained, all others stay zero."""

    def __init__(self, clip: ModuleType) -> None:
        texts = [text.format("") for text in (*TEMPLATES, *NUMERAL_NAMES, *LETTER_NAMES)]
        texts += [*NUMERALS, *CHARACTERS[36:], *FILLER]
        self.ids = torch.unique(clip.tokenize(texts).long())
        # "seven." and "seven ." are the same tokens, so single words cover all captions
        self.position = torch.full((49408,), -1, dtype=torch.long)
        self.position[self.ids] = torch.arange(len(self.ids))


def image_features(model: CLIP, images: Tensor) -> Tensor:
    """Normalised features (B, 64) of images (B, 3, 32, 32)."""
    visual = cast(VisionTransformer, model.visual)  # from `build`
    x = visual.conv1(images).flatten(2).transpose(1, 2)  # (B, 16, D)
    x = torch.cat([visual.class_embedding.expand(len(x), 1, -1), x], dim=1) + visual.positional_embedding
    x = visual.ln_pre(x)
    for block in visual.transformer.resblocks:
        x = run_block(block, x)
    return F.normalize(visual.ln_post(x[:, 0]) @ visual.proj, dim=-1)


def text_features(model: CLIP, table: Tensor, words: Words, tokens: Tensor) -> Tensor:
    """Normalised features (C, 64) of captions given as token ids (C, 77)."""
    tokens = tokens[:, :_CONTEXT]
    x = F.embedding(words.position[tokens], table) + model.positional_embedding[:_CONTEXT]
    for block in model.transformer.resblocks:
        x = run_block(block, x, causal_after(_CONTEXT, _CONTEXT, x.device))
    x = model.ln_final(x)[torch.arange(len(x)), tokens.argmax(dim=-1)] @ model.text_projection
    return F.normalize(x, dim=-1)


def contrastive_loss(image: Tensor, text: Tensor, target: Tensor, scale: Tensor) -> Tensor:
    """CLIP's symmetric loss, if several images may share one of the C captions.

    Args:
        image: normalised features (B, D).
        text: normalised features (C, D).
        target: caption number of each image (B,).
        scale: multiplier of the cosines.
    """
    logits = scale * image @ text.t()  # (B, C)
    owns = F.one_hot(target, len(text)).t().float()  # (C, B)
    count = owns.sum(dim=1)
    log_share = (owns * logits.t().log_softmax(dim=1)).sum(dim=1)  # (C,)
    text_loss = -(log_share[count > 0] / count[count > 0])
    return (F.cross_entropy(logits, target, label_smoothing=0.05) + text_loss.mean()) / 2


class Batches:
    """Endless random (images, captions, targets): glyphs by weight, numerals for two in three."""

    def __init__(self, glyphs: Glyphs, clip: ModuleType, size: int, seed: int) -> None:
        self.glyphs, self.clip, self.size, self.rng = glyphs, clip, size, random.Random(seed)
        numeral = glyphs.characters < 10
        share = torch.where(numeral, 0.67 / glyphs.weights[numeral].sum(), 0.33 / glyphs.weights[~numeral].sum())
        self.share = glyphs.weights * share

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        while True:
            picked = torch.multinomial(self.share, self.size, replacement=True)
            images = normalise(colour(distort(self.glyphs.images[picked])))
            characters = self.glyphs.characters[picked]
            target = torch.where(characters < 36, characters, characters - 26)
            texts = [caption(character, self.rng) for character in range(36)]
            yield images, self.clip.tokenize(texts).long(), target


def normalise(images: Tensor) -> Tensor:
    """Images in [0, 1] shifted and scaled by CLIP's channel means and deviations."""
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    return (images - mean) / std


def accuracy_pct(model: CLIP, table: Tensor, words: Words, clip: ModuleType, glyphs: Glyphs) -> float:
    """Zero-shot accuracy on distorted numerals of the given glyphs, in percent."""
    numeral = glyphs.characters < 10
    tokens = clip.tokenize([f"a photo of the number {name}." for name in NUMERALS]).long()
    model.eval()
    with torch.no_grad():
        text = text_features(model, table, words, tokens)
        image = image_features(model, normalise(colour(distort(glyphs.images[numeral]))))
    model.train()
    return 100 * (image @ text.t()).argmax(dim=1).eq(glyphs.characters[numeral]).float().mean().item()


def save(model: CLIP, table: Tensor, words: Words, path: Path) -> None:
    """The weights as a compressed npz of half-precision arrays; of the token embedding, only the trained rows."""
    arrays = {name: value.detach().half().numpy() for name, value in model.state_dict().items()}
    del arrays["token_embedding.weight"]
    arrays["token_embedding.ids"] = words.ids.int().numpy()
    arrays["token_embedding.rows"] = table.detach().half().numpy()
    arrays["token_embedding.size"] = np.int32(49408)
    aside = path.with_suffix(".part.npz")
    np.savez_compressed(aside, **arrays)
    aside.replace(path)


def train(args: argparse.Namespace) -> None:
    """Train for `args.minutes` of wall time on all families except the last eighth, which is for testing."""
    random.seed(args.seed)
    torch.manual_seed(args.seed)
    clip = import_clip()
    named = families()
    names = sorted(named, key=lambda name: random.random())
    held_out = names[: len(names) // 8]
    glyphs = render_families({name: files for name, files in named.items() if name not in held_out})
    unseen = render_families({name: named[name] for name in held_out})

    model, words = build(args.width), Words(clip)
    model.token_embedding.weight.requires_grad_(False)
    table = nn.Parameter(torch.randn(len(words.ids), 64) * 0.02)
    parameters = [p for p in model.parameters() if p.requires_grad]
    decay = [p for p in parameters if p.dim() > 1]
    optimiser = torch.optim.AdamW(
        [
            {"params": decay, "weight_decay": 0.05},
            {"params": [p for p in parameters if p.dim() <= 1] + [table], "weight_decay": 0.0},
        ],
        lr=args.lr,
        betas=(0.9, 0.98),
    )
    start, step = time.monotonic(), 0
    bar = tqdm(total=100, unit="%", desc="training")
    for images, tokens, target in Batches(glyphs, clip, args.batch, args.seed):
        done = (time.monotonic() - start) / (60 * args.minutes)
        if done >= 1:
            break
        rate = args.lr * min(1.0, (step + 1) / 300) * (0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * done)))
        for group in optimiser.param_groups:
            group["lr"] = rate
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.bf16):
            image = image_features(model, images)
            text = text_features(model, table, words, tokens)
        scale = model.logit_scale.exp().clamp(max=100)
        loss = contrastive_loss(image.float(), text.float(), target, scale)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=float(np.log(100)))
        step += 1
        bar.update(round(100 * done, 2) - bar.n)
        if step % 500 == 0:
            pct = accuracy_pct(model, table, words, clip, unseen)
            tqdm.write(f"step {step} loss {loss.item():.3f} scale {scale.item():.1f} unseen typefaces {pct:.1f}%")
            save(model, table, words, args.out)
    bar.close()
    save(model, table, words, args.out)
    pct = accuracy_pct(model, table, words, clip, unseen)
    total = f"{step * args.batch / 1e6:.2f} million glyphs"
    print(f"Trained {step} steps with batches of {args.batch} ({total}) in {args.minutes:g} minutes")
    print(f"Accuracy on distorted numerals of {len(held_out)} unseen typeface families: {pct:.1f}%")
    print(f"Wrote {args.out} ({args.out.stat().st_size / 1e6:.2f} MB)")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the small CLIP on rendered type.")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("modprompt/clip/models/glyph_clip.npz"),
        help="the file for the weights (default: %(default)s)",
    )
    parser.add_argument("--minutes", type=float, default=60, help="training time in minutes of wall time (default: 60)")
    parser.add_argument("--width", type=int, default=128, help="width of the image encoder (default: 128)")
    parser.add_argument("--batch", type=int, default=96, help="batch size (default: 96)")
    parser.add_argument("--lr", type=float, default=1e-3, help="learning rate (default: 0.001)")
    parser.add_argument("--seed", type=int, default=1, help="random seed (default: 1)")
    parser.add_argument(
        "--bf16", action="store_true", help="run the encoders in bfloat16 (for processors that support bfloat16)"
    )
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    train(args)


if __name__ == "__main__":
    sys.exit(report(main))
