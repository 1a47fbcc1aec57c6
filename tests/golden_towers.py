"""Golden features of tiny dual encoders that open_clip and transformers made, and how their weights and inputs are made.

All tensors are drawn by numpy, by their names: no package's initialisation counts. tests/modprompt/clip/towers.npz has
the features that the packages themselves gave.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from tests.conftest import process_kept
from tests.other_clips import other_package

FILE = Path(__file__).parent / "modprompt" / "clip" / "towers.npz"
SEED = 11
ROBERTA = {  # of the text side of open_clip/roberta, whose config.json stood in a folder
    "model_type": "roberta", "vocab_size": 400, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 128, "max_position_embeddings": 80, "type_vocab_size": 1,
}  # fmt: skip
_DRAWN = ("positional_embedding", "latent", "probe", "cls_token", "reg_token", "query")


class Case(NamedTuple):
    """One model: what made it, its inputs, and what came out."""

    kind: str  # the package's class
    config: dict[str, Any]
    images: torch.Tensor
    ids: torch.Tensor
    image: torch.Tensor
    text: torch.Tensor
    scale: float
    bias: float
    logits: torch.Tensor
    names: str


def case(name: str) -> Case:
    """A case, such as "open_clip/siglip"."""
    with np.load(FILE) as file:
        found = {key.rpartition("/")[2]: file[key] for key in file.files if key.startswith(f"{name}/")}
    about = str(found["about"])
    shape = json.loads("[" + about.split("images(seed, (")[1].split(")")[0] + "]")
    words = about.split("tokens(seed, ")[1].split(")")[0].split(", ")  # length, vocabulary, start, end, padding
    start = [] if words[2] == "None" else [int(words[2])]
    images = np.random.default_rng([SEED, 1]).standard_normal((2, *shape)).astype(np.float32)
    return Case(
        about.split(",")[0].split()[1],
        json.loads(str(found["config"])),
        torch.from_numpy(images),
        _ids(int(words[0]), start, int(words[3]), int(words[4])),
        torch.from_numpy(found["image"]),
        torch.from_numpy(found["text"]),
        float(found["scale"]),
        float(found["bias"]),
        torch.from_numpy(found["logits"]),
        str(found["names"]),
    )


def _ids(length: int, start: list[int], end: int, padding: int) -> torch.Tensor:
    draws = np.random.default_rng([SEED, 2])
    rows = []
    for count in (3, 6, length - 2):
        words = draws.integers(10, 390, count).tolist()
        row = [*start, *words, end]
        rows.append(row[:length] + [padding] * (length - len(row)))
    return torch.tensor(rows)


def fill(model: nn.Module) -> dict[str, torch.Tensor]:
    """Give a model the golden weights; its state dict."""
    state = model.state_dict()
    for name, tensor in state.items():
        if tensor.is_floating_point():
            tensor.copy_(torch.from_numpy(_value(name, tuple(tensor.shape))))
    return state


def _value(name: str, shape: tuple) -> np.ndarray:
    last = name.rpartition(".")[2]
    drawn = np.random.default_rng([SEED, zlib.crc32(name.encode())]).standard_normal(shape)
    if last in ("logit_scale", "logit_bias"):
        return np.full(shape, 2.5 if last == "logit_scale" else -10.0)
    if last == "running_var":
        return 1 + 0.1 * np.abs(drawn)
    if len(shape) < 2:
        return 0.1 * drawn + (last in ("weight", "gamma"))
    if "embed" in name or name.endswith(_DRAWN):
        return 0.5 * drawn
    inputs = shape[0] if last in ("text_projection", "proj") else np.prod(shape[1:])
    return 0.8 * drawn / np.sqrt(inputs)


def names_of(state: dict[str, torch.Tensor]) -> str:
    """The hash of the sorted lines "name shape", as the golden file has it."""
    lines = sorted(f"{name} {tuple(one.shape)}" for name, one in state.items())
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def open_clips(one: Case) -> nn.Module:
    """open_clip's own model of a case, as it draws it, in eval mode."""
    config = json.loads(json.dumps(one.config))
    config.pop("custom_text", None)
    with process_kept():
        return getattr(other_package("open_clip"), one.kind)(**config).eval()
