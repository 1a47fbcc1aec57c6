"""Kinds of files that CLIPs come in: weights in every form, and what stands beside them. The towers are one wide."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from safetensors.torch import save_file

from modprompt.clip import config_files, hub, reading, source
from modprompt.clip.file_tokenizer import FileTokenizer, TokenizerPlan
from modprompt.clip.infer_shape import _expected
from modprompt.clip.key_mapping import _HF_JOINED, _HF_OUTER, _HF_PARTS, _HF_TRANSPOSED
from modprompt.clip.source import Asked
from tests import small_tokenizers
from tests.campaign.kind import JSON, NPZ, OLD_TORCH, SAFETENSORS, TEXT, TORCH, Kind

_SHAPE = {
    "text layers": 1, "text width": 1, "text hidden": 4, "embed": 1, "vocabulary": 49408, "positions": 77,
    "image layers": 1, "image width": 1, "image hidden": 4, "patch": 2, "pixels": 4,
}  # fmt: skip
_COMMIT = "a" * 40
_INDEX = "model.safetensors.index.json"


@functools.lru_cache(maxsize=1)
def _state() -> dict[str, torch.Tensor]:
    """A CLIP's tensors, in OpenAI's dialect."""
    draws = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=draws).half() for name, shape in _expected(_SHAPE).items()}


def _of_transformers() -> dict[str, torch.Tensor]:
    """The same in transformers' dialect."""
    parts, outer = {new: old for old, new in _HF_PARTS.items()}, {new: old for old, new in _HF_OUTER.items()}
    found: dict[str, torch.Tensor] = {}
    for name, tensor in _state().items():
        if name in outer:
            found[outer[name]] = tensor.t().contiguous() if outer[name] in _HF_TRANSPOSED else tensor
            continue
        front, inner = name.split("resblocks.0.")
        layer = f"{'vision' if front.startswith('visual') else 'text'}_model.encoder.layers.0."
        part, kind = inner.replace("in_proj_", "in_proj.").rsplit(".", 1)
        if part == "attn.in_proj":
            found.update({f"{layer}{one}.{kind}": some for one, some in zip(_HF_JOINED, tensor.chunk(3))})
        else:
            found[f"{layer}{parts[part]}.{kind}"] = tensor
    return {name: tensor.contiguous().clone() for name, tensor in found.items()}


def _read(path: Path, **said: Any) -> Any:
    source._hash_of.cache_clear()  # a file that changes twice within one tick of the clock is another one here
    return reading.read(source.find(Asked(path=str(path), **said)))


def _read_bare(path: Path) -> Any:
    return _read(path, activation="gelu", heads=(1, 1))


def _read_beside(path: Path) -> Any:
    return _read(path.parent)


def _write_bare(folder: Path, **how: Any) -> Path:
    torch.save(_state(), folder / "clip.pt", **how)
    return folder / "clip.pt"


class _Holder(torch.nn.Module):
    """Modules in modules under the names of a state dict."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def _write_torchscript(folder: Path) -> Path:
    root = _Holder()
    for name, tensor in _state().items():
        *path, last = name.split(".")
        place = root
        for part in path:
            if not hasattr(place, part):
                place.add_module(part, _Holder())
            place = getattr(place, part)
        place.register_parameter(last, torch.nn.Parameter(tensor, requires_grad=False))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(root), str(folder / "clip.pt"))
    return folder / "clip.pt"


def _write_safetensors(folder: Path) -> Path:
    save_file(_state(), str(folder / "clip.safetensors"), metadata={"format": "pt"})
    return folder / "clip.safetensors"


def _open_clip(folder: Path) -> None:
    config = {
        "embed_dim": 1,
        "vision_cfg": {"layers": 1, "width": 1, "head_width": 1, "patch_size": 2, "image_size": 4},
        "text_cfg": {"layers": 1, "width": 1, "heads": 1, "context_length": 77, "vocab_size": 49408},
    }
    images = {"size": 4, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bicubic"}
    whole = {"model_cfg": config, "preprocess_cfg": images}
    (folder / config_files.OPEN_CLIP_FILE).write_text(json.dumps(whole, indent=2))
    save_file(_state(), str(folder / "open_clip_model.safetensors"), metadata={"format": "pt"})


def _transformers(folder: Path) -> None:
    side = {"num_hidden_layers": 1, "hidden_size": 1, "num_attention_heads": 1, "intermediate_size": 4}
    image = {**side, "patch_size": 2, "image_size": 4}
    config = {"model_type": "clip", "projection_dim": 1, "text_config": side, "vision_config": image}
    (folder / config_files.TRANSFORMERS_FILE).write_text(json.dumps(config, indent=2))
    images = {
        "size": {"shortest_edge": 4},
        "crop_size": {"height": 4, "width": 4},
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "resample": 3,
        "do_resize": True,
        "image_processor_type": "CLIPImageProcessor",
    }
    (folder / config_files.IMAGES_FILE).write_text(json.dumps(images, indent=2))
    (folder / config_files.TOKENIZER_FILE).write_text(json.dumps({"tokenizer_class": "CLIPTokenizer"}))
    save_file(_of_transformers(), str(folder / "model.safetensors"), metadata={"format": "pt"})


def _shards(folder: Path, ending: str = "safetensors") -> None:
    """The tensors in two files beside an index, in the place of the one file."""
    tensors = _of_transformers()
    (folder / "model.safetensors").unlink()
    names = list(tensors)
    places = {name: f"model-0000{1 + (number % 2)}-of-00002.{ending}" for number, name in enumerate(names)}
    for place in sorted(set(places.values())):
        some = {name: tensors[name] for name in names if places[name] == place}
        save_file(some, str(folder / place)) if ending == "safetensors" else torch.save(some, folder / place)
    index = _INDEX if ending == "safetensors" else "pytorch_model.bin.index.json"
    (folder / index).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}, indent=2))


def _beside(make: Callable[[Path], None], name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        make(folder)
        return folder / name

    return write


def _sharded(ending: str, name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        _transformers(folder)
        _shards(folder, ending)
        return folder / name

    return write


def _write_embedded(folder: Path) -> Path:
    shutil.copy(reading.EMBEDDED_FILE, folder / "glyph_clip.npz")
    return folder / "glyph_clip.npz"


def _read_embedded(path: Path) -> Any:
    with mock.patch.object(reading, "EMBEDDED_FILE", path):
        return reading.read_embedded()


def _write_ref(folder: Path) -> Path:
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(_COMMIT)
    return folder / "refs" / "main"


def _write_blob(folder: Path) -> Path:
    made = _write_safetensors(folder)
    blob = folder / "blobs" / hashlib.sha256(made.read_bytes()).hexdigest()
    blob.parent.mkdir()
    made.rename(blob)
    snapshot = folder / "snapshots" / _COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "clip.safetensors").symlink_to(blob)
    return blob


def _read_blob(path: Path) -> Any:
    return _read_bare(path.parents[1] / "snapshots" / _COMMIT / "clip.safetensors")


def _in_cache(make: Callable[[Path], None], name: str) -> Callable[[Path], Path]:
    """A repository in a hub's cache."""

    def write(folder: Path) -> Path:
        snapshot = folder / "models--owner--name" / "snapshots" / _COMMIT
        snapshot.mkdir(parents=True)
        (folder / "models--owner--name" / "refs").mkdir()
        (folder / "models--owner--name" / "refs" / "main").write_text(_COMMIT)
        make(snapshot)
        return snapshot / name

    return write


def _sharded_folder(folder: Path) -> None:
    _transformers(folder)
    _shards(folder)


def _read_by_name(path: Path) -> Any:
    cache = next(folder for folder in path.parents if (folder / "models--owner--name").is_dir())
    source._hash_of.cache_clear()
    with mock.patch.dict(os.environ, HF_HUB_CACHE=str(cache), HF_HUB_OFFLINE="1"):
        return reading.read(source.find(Asked(name=f"hf-hub:owner/name@{_COMMIT}")))


def _look_at(path: Path) -> Any:
    source._hash_of.cache_clear()
    return reading.look_at(source.find(Asked(path=str(path), activation="gelu", heads=(1, 1))))


def _words(folder: Path) -> None:
    small_tokenizers.write(folder, "siglip")


def _read_words(path: Path) -> Any:
    found = FileTokenizer(path.parent, TokenizerPlan(64, "canonicalize", 400))
    return found.facts, found.row("a photo of a cat")


def kinds() -> list[Kind]:
    """All of them."""
    config, images, tokens = (
        getattr(config_files, name) for name in ("TRANSFORMERS_FILE", "IMAGES_FILE", "TOKENIZER_FILE")
    )
    old, shard = {"_use_new_zipfile_serialization": False}, "model-00002-of-00002"
    return [
        Kind("CLIP's state dict", TORCH, _write_bare, _read_bare, True),
        Kind("CLIP as TorchScript", "torchscript", _write_torchscript, _read_bare, True),
        Kind("CLIP of before PyTorch 1.6", OLD_TORCH, lambda folder: _write_bare(folder, **old), _read_bare),
        Kind("CLIP as safetensors", SAFETENSORS, _write_safetensors, _read_bare),
        Kind("CLIP of transformers", SAFETENSORS, _beside(_transformers, "model.safetensors"), _read_beside),
        Kind("shard of safetensors", SAFETENSORS, _sharded("safetensors", f"{shard}.safetensors"), _read_beside),
        Kind("shard of torch.save", TORCH, _sharded("bin", f"{shard}.bin"), _read_beside, True),
        Kind("index of shards", JSON, _sharded("safetensors", _INDEX), _read_beside),
        Kind(config_files.OPEN_CLIP_FILE, JSON, _beside(_open_clip, config_files.OPEN_CLIP_FILE), _read_beside),
        Kind(config, JSON, _beside(_transformers, config), _read_beside),
        Kind(images, JSON, _beside(_transformers, images), _read_beside),
        Kind(tokens, JSON, _beside(_transformers, tokens), _read_beside),
        Kind("index of shards, of a hub", JSON, _in_cache(_sharded_folder, _INDEX), _read_by_name),
        Kind("open_clip_config.json of a hub", JSON, _in_cache(_open_clip, config_files.OPEN_CLIP_FILE), _read_by_name),
        Kind("CLIP that is looked at", SAFETENSORS, _write_safetensors, _look_at),
        Kind("glyph-clip", NPZ, _write_embedded, _read_embedded, True),
        Kind("tokenizer.json", JSON, _beside(_words, "tokenizer.json"), _read_words),
        Kind("tokenizer_config.json of a tower", JSON, _beside(_words, tokens), _read_words),
        Kind("ref of a hub's cache", TEXT, _write_ref, hub.commit_of),
        Kind("blob of a hub's cache", SAFETENSORS, _write_blob, _read_blob, True),
    ]
