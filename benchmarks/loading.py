"""Peak memory of `load_clip` on a CPU, over the size of the loaded tensors.

    python -m benchmarks.loading                               ViT-g/14, float32, one safetensors file
    python -m benchmarks.loading --dtype float16               or bfloat16
    python -m benchmarks.loading --form bin                    or sharded, transformers
    python -m benchmarks.loading --model ViT-B-16              for a quick try
    python -m benchmarks.loading --model ViT-B-16 --activation quick_gelu      what the `clip` package builds

It makes the weights (random) in a temporary folder, which must have space for them (ViT-g/14: 5.5 GB, and as much
memory for `--form bin`). They are loaded in a separate process, whose imports do not count.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modprompt.clip import package
from modprompt.clip.known import ACTIVATIONS, GELU, OPENAI_MEAN, OPENAI_STD, QUICK_GELU
from modprompt.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
MOST = 2.2  # open_clip draws random weights first, the `clip` package copies
FORMS = ("safetensors", "bin", "sharded", "transformers")
SHARDS = 5
GIB = 2**30
KEYS = ("peak", "after", "tensors")
_KINDS = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
MODELS: dict[str, dict[str, Any]] = {  # as in open_clip_config.json
    "ViT-g-14": {
        "embed_dim": 1024,
        "vision_cfg": {
            "image_size": 224,
            "layers": 40,
            "width": 1408,
            "head_width": 88,
            "mlp_ratio": 6144 / 1408,
            "patch_size": 14,
        },
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 1024, "heads": 16, "layers": 24},
    },
    "ViT-B-16": {
        "embed_dim": 512,
        "vision_cfg": {"image_size": 224, "layers": 12, "width": 768, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12},
    },
}
_OUTER = {  # transformers' names outside of the layers
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final": "text_model.final_layer_norm",
    "text_projection": "text_projection.weight",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre": "vision_model.pre_layrnorm",
    "visual.ln_post": "vision_model.post_layernorm",
    "visual.proj": "visual_projection.weight",
    "logit_scale": "logit_scale",
}
_INNER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


def empty_state(model: Mapping[str, Any]) -> dict[str, Tensor]:
    """A CLIP's tensors without memory, under OpenAI's names."""
    with torch.device("meta"):
        state: dict[str, Tensor] = package.open_clip().CLIP(**model).state_dict()
        return state


def transformers_tensors(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """(transformers' name, tensor) pairs for one of OpenAI's names: joined ones are split, projections transposed."""
    before, _, rest = name.partition("resblocks.")
    if not rest:
        front = next(one for one in _OUTER if name == one or name.startswith(f"{one}."))
        turned = name in ("text_projection", "visual.proj")
        yield _OUTER[front] + name[len(front) :], tensor.t() if turned else tensor
        return
    number, _, part = rest.partition(".")
    side = "vision_model" if before.startswith("visual.") else "text_model"
    layer = f"{side}.encoder.layers.{number}."
    if part.startswith("attn.in_proj_"):
        kind = part[len("attn.in_proj_") :]
        yield from ((f"{layer}self_attn.{one}_proj.{kind}", third) for one, third in zip("qkv", tensor.chunk(3)))
        return
    module, _, kind = part.rpartition(".")
    yield f"{layer}{_INNER[module]}.{kind}", tensor


def stored(state: Mapping[str, Tensor], form: str) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) pairs in a form of file."""
    for name, tensor in state.items():
        yield from transformers_tensors(name, tensor) if form == "transformers" else [(name, tensor)]


def random_like(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Small random numbers of a tensor's shape that no shorter type holds exactly."""
    return torch.randn(tensor.shape).mul_(0.02).to(dtype)


def write_safetensors(path: Path, tensors: Sequence[tuple[str, Tensor]], dtype: torch.dtype) -> None:
    """Write a file with random numbers for tensors without memory, made one after the other."""
    header, at = {}, 0
    for name, tensor in tensors:
        size = tensor.numel() * dtype.itemsize
        header[name] = {"dtype": _KINDS[dtype], "shape": list(tensor.shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, tensor in tensors:
            file.write(random_like(tensor, dtype).flatten().view(torch.uint8).numpy().data)


def write_shards(folder: Path, tensors: Sequence[tuple[str, Tensor]], dtype: torch.dtype) -> None:
    """Write several files with their index."""
    whole, before = sum(tensor.numel() for _, tensor in tensors), 0
    shards: list[list[tuple[str, Tensor]]] = [[] for _ in range(SHARDS)]
    for name, tensor in tensors:
        shards[SHARDS * before // whole].append((name, tensor))
        before += tensor.numel()
    places = {}
    for number, shard in enumerate(shards):
        file = f"open_clip_model-{number + 1:05}-of-{SHARDS:05}.safetensors"
        write_safetensors(folder / file, shard, dtype)
        places.update({name: file for name, _ in shard})
    index = {"metadata": {"total_size": whole * dtype.itemsize}, "weight_map": places}
    (folder / "open_clip_model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def transformers_configs(model: Mapping[str, Any], activation: str) -> dict[str, dict[str, Any]]:
    """The two configs of transformers by their files' names."""
    text, image = model["text_cfg"], model["vision_cfg"]
    heads = {"text": text["heads"], "vision": image["width"] // image.get("head_width", 64)}
    sides: dict[str, dict[str, Any]] = {}
    for side, part in (("text", text), ("vision", image)):
        sides[f"{side}_config"] = {
            "hidden_act": activation,
            "hidden_size": part["width"],
            "intermediate_size": int(part["width"] * part.get("mlp_ratio", 4)),
            "num_hidden_layers": part["layers"],
            "num_attention_heads": heads[side],
        }
    size = image["image_size"]
    sides["vision_config"].update({"image_size": size, "patch_size": image["patch_size"]})
    images = {"size": size, "crop_size": size, "image_mean": OPENAI_MEAN, "image_std": OPENAI_STD, "resample": 3}
    config = {"model_type": "clip", "projection_dim": model["embed_dim"], **sides}
    return {"config.json": config, "preprocessor_config.json": images}


def write(folder: Path, model: Mapping[str, Any], form: str, dtype: torch.dtype, activation: str = GELU) -> int:
    """Write random weights and their config into a folder; the bytes of their tensors."""
    tensors = list(stored(empty_state(model), form))
    if form == "bin":
        torch.save({name: random_like(one, dtype) for name, one in tensors}, folder / "open_clip_pytorch_model.bin")
    elif form == "sharded":
        write_shards(folder, tensors, dtype)
    else:
        file = "model" if form == "transformers" else "open_clip_model"
        write_safetensors(folder / f"{file}.safetensors", tensors, dtype)
    configs = {"open_clip_config.json": {"model_cfg": {**model, "quick_gelu": activation == QUICK_GELU}}}
    if form == "transformers":
        configs = transformers_configs(model, activation)
    for name, config in configs.items():
        (folder / name).write_text(json.dumps(config), encoding="utf-8")
    return sum(tensor.numel() for _, tensor in tensors) * dtype.itemsize


def held(key: str) -> int:
    """Bytes of this process's memory: VmRSS now, VmHWM at most so far."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith(f"{key}:")).split()[1]) * 1024


def measure(folder: str) -> dict[str, float]:
    """Bytes of loading a folder, at its peak and at its end, bytes of the model's tensors, and seconds."""
    import safetensors  # noqa: F401 - imported first, so that it does not count
    from torchvision import transforms  # noqa: F401

    from modprompt.clip.load import load_clip
    from modprompt.clip.package import import_clip

    import_clip()
    with contextlib.suppress(UserError):  # CLIPs with towers need its modules
        package.open_clip()
    before, start = held("VmRSS"), time.perf_counter()
    clip_model, _ = load_clip(folder, "cpu")
    seconds = time.perf_counter() - start
    peak, after = held("VmHWM") - before, held("VmRSS") - before
    size = sum(tensor.numel() * tensor.element_size() for tensor in clip_model.state_dict().values())
    return {"peak": peak, "after": after, "tensors": size, "seconds": seconds}


def in_a_process(folder: Path) -> dict[str, float]:
    """`measure` in a separate process."""
    words = [sys.executable, "-m", "benchmarks.loading", "--measure", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        raise RuntimeError(f"loading {folder} failed: {done.stderr.strip().splitlines()[-1:]}")
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def main(argv: list[str] | None = None) -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=tuple(MODELS), default="ViT-g-14")
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default="float32", help="in the file")
    parser.add_argument("--form", choices=FORMS, default=FORMS[0])
    parser.add_argument("--activation", choices=ACTIVATIONS, default=GELU)
    parser.add_argument("--folder", help="where the temporary folder goes")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.measure:
        print(json.dumps(measure(args.measure)))
        return 0
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        size = write(Path(name), MODELS[args.model], args.form, getattr(torch, args.dtype), args.activation)
        found = in_a_process(Path(name))
    peak, after, tensors, in_file = (one / GIB for one in (*(found[key] for key in KEYS), size))
    print(
        f"{platform.machine()}, torch {torch.__version__}; {args.model}, {args.activation}, {args.dtype}, {args.form}"
    )
    print(f"peak {peak:.2f} GiB, afterwards {after:.2f}; tensors {tensors:.2f}, in the file {in_file:.2f}", end="")
    print(f"; {found['seconds']:.0f} s")
    print(f"peak / tensors: {peak / tensors:.3f} (at most {MOST}); peak / tensors in the file: {peak / in_file:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
