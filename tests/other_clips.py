"""Tiny random CLIPs that open_clip and transformers have made and saved themselves: what other CLIPs are held against.

Both packages are needed by tests alone; they are imported when they are asked for. Nothing here reads from the network.
"""

from __future__ import annotations

import importlib
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tests.conftest import process_kept

Oracle = tuple[Any, Callable[[Any], torch.Tensor]]  # a model, and from a PIL image to (3, H, W)


def other_package(name: str, *parts: str) -> Any:
    """A package, or parts of it; to import them warns and sets variables of the environment."""
    with process_kept(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        package = importlib.import_module(name)
        return [getattr(package, part) for part in parts] if parts else package


def randomise(model: nn.Module, seed: int) -> None:
    """Draw all parameters anew, so that none is zero or one and each moves the features; attention is not uniform."""
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.endswith("logit_scale"):
                value.fill_(2.5)
                continue
            noise = torch.randn(value.shape, generator=draws)
            if value.dim() == 1 and name.endswith("weight"):  # of a normalisation
                value.copy_(1 + 0.2 * noise)
            elif value.dim() == 1 or ("embedding" in name and "patch" not in name):
                value.copy_(0.3 * noise)
            else:  # a matrix, which keeps about the size of what comes in
                value.copy_(1.4 * noise / value[0].numel() ** 0.5)


def write_weights(
    folder: Path, state: Mapping[str, torch.Tensor], file: str, *, half: bool = False, wrapped: bool = False
) -> dict[str, torch.Tensor]:
    """Write a state dict as a package does under that name, in several files if it is an index; gives what was written.

    Args:
        folder: where to.
        state: the tensors.
        file: name of the file or the index.
        half: in float16.
        wrapped: as a training run of open_clip leaves it: {"state_dict": of a parallel model, ...}.
    """
    from safetensors.torch import save_file

    def save(tensors: dict[str, torch.Tensor], name: str) -> None:
        if name.endswith(".safetensors"):
            save_file(tensors, str(folder / name), metadata={"format": "pt"})
        else:
            torch.save(tensors, folder / name)

    written = {name: (value.half() if half else value).detach().clone().contiguous() for name, value in state.items()}
    if wrapped:
        parallel = {f"module.{name}": value for name, value in written.items()}
        torch.save({"epoch": 3, "name": "run", "state_dict": parallel}, folder / file)
    elif file.endswith(".index.json"):
        _save_shards(folder, written, file, save)
    else:
        save(written, file)
    return written


def _save_shards(
    folder: Path, tensors: dict[str, torch.Tensor], index: str, save: Callable[[dict[str, torch.Tensor], str], None]
) -> None:
    stem, ending = index[: -len(".index.json")].rsplit(".", 1)
    names, count = list(tensors), 3
    places = {
        name: f"{stem}-{number * count // len(names) + 1:05}-of-{count:05}.{ending}"
        for number, name in enumerate(names)
    }
    for place in sorted(set(places.values())):
        save({name: tensors[name] for name in names if places[name] == place}, place)
    size = sum(value.numel() * value.element_size() for value in tensors.values())
    (folder / index).write_text(json.dumps({"metadata": {"total_size": size}, "weight_map": places}))


def open_clip_folder(
    path: Path,
    *,
    embed: int = 48,
    image: Mapping[str, Any] = {},  # noqa: B006 - read only
    text: Mapping[str, Any] = {},  # noqa: B006
    images: Mapping[str, Any] = {},  # noqa: B006
    file: str = "open_clip_model.safetensors",
    half: bool = False,
    wrapped: bool = False,
    seed: int = 0,
    **model: Any,
) -> Oracle:
    """Write a random CLIP of open_clip's into a new folder, as open_clip pushes one to a hub.

    Args:
        path: the folder.
        embed: joint width.
        image: of vision_cfg, over a small tower of 2 layers, 2 heads 64 wide, and images of 32 pixels.
        text: the same of text_cfg.
        images: of preprocess_cfg.
        file: of the weights.
        half: whether they are written as float16.
        wrapped: whether they stand inside the checkpoint of a training run.
        seed: of the weights.
        model: quick_gelu, custom_text and other keys of model_cfg.

    Returns:
        (open_clip's model as it reads the file, in float32 and eval mode, its transform of test images).
    """
    factory, push = other_package("open_clip.factory"), other_package("open_clip.push_to_hf_hub")
    config = {
        "embed_dim": embed,
        "vision_cfg": {"layers": 2, "width": 128, "patch_size": 16, "image_size": 32, **image},
        "text_cfg": {"layers": 2, "width": 128, "heads": 2, "context_length": 77, "vocab_size": 49408, **text},
        **model,
    }
    path.mkdir(parents=True)
    (path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": dict(images)}))
    with process_kept():
        made, _, transform = factory.create_model_and_transforms(f"local-dir:{path}", load_weights=False)
    randomise(made, seed)
    push.save_config_for_hf(made, path / "open_clip_config.json", config)
    written = write_weights(path, made.state_dict(), file, half=half, wrapped=wrapped)
    randomise(made, seed + 1)
    if file.endswith(".index.json"):  # which it does not read
        made.load_state_dict(written)
    else:
        factory.load_checkpoint(made, str(path / file))
    return made.eval(), transform


def transformers_folder(
    path: Path,
    *,
    embed: int = 48,
    image: Mapping[str, Any] = {},  # noqa: B006 - read only
    text: Mapping[str, Any] = {},  # noqa: B006
    images: Mapping[str, Any] = {},  # noqa: B006
    act: str = "quick_gelu",
    eos: int = 49407,
    file: str = "model.safetensors",
    half: bool = False,
    seed: int = 0,
) -> Oracle:
    """Write a random CLIP of transformers' into a new folder, by its save_pretrained where that has such files.

    Args:
        path: the folder.
        embed: joint width.
        image: of vision_config, over a small tower of 2 layers, 2 heads 64 wide, and images of 32 pixels.
        text: the same of text_config.
        images: of the image processor.
        act: hidden_act of both sides.
        eos: eos_token_id of the text side.
        file: of the weights.
        half: whether they are written as float16.
        seed: of the weights.

    Returns:
        (CLIPModel as transformers reads it from there, in float32 and eval mode, its image processor on Pillow).
    """
    names = ("CLIPConfig", "CLIPModel", "CLIPImageProcessorPil")
    config_of, model_of, processor_of = other_package("transformers", *names)
    small = {"num_hidden_layers": 2, "hidden_size": 128, "num_attention_heads": 2, "intermediate_size": 512}
    vision = {**small, "patch_size": 16, "image_size": 32, "hidden_act": act, **image}
    words = {**small, "hidden_act": act, "eos_token_id": eos, **text}
    with process_kept():
        made = model_of(config_of(text_config=words, vision_config=vision, projection_dim=embed)).eval()
    randomise(made, seed)
    made = made.half() if half else made
    side = vision["image_size"]
    standard = {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}
    processor = processor_of(**{**standard, **images})
    processor.save_pretrained(path)
    _save_transformers(made, path, file)
    with process_kept():
        read = model_of.from_pretrained(path, dtype=torch.float32).eval()
    return read, lambda picture: processor(picture, return_tensors="pt")["pixel_values"][0]


def _save_transformers(model: Any, path: Path, file: str) -> None:
    if ".safetensors" in file:
        model.save_pretrained(path, max_shard_size="2MB" if file.endswith(".index.json") else "50GB")
    else:  # as its versions up to 4 did
        model.config.dtype = model.dtype
        model.config.save_pretrained(path)
        write_weights(path, model.state_dict(), file, half=model.dtype == torch.float16)
    assert (path / file).is_file()


def edit(path: Path, *keys: str, value: Any) -> None:
    """Set one value in a JSON file."""
    content = json.loads(path.read_text())
    place = content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    path.write_text(json.dumps(content))


def images_of(seed: int, count: int, size: tuple[int, int] = (500, 375)) -> Any:
    """Random PIL images, each of a colour scheme of its own and noise."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        scheme = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize(size)
        noise = rng.integers(-40, 41, (size[1], size[0], 3))
        made.append(Image.fromarray((np.asarray(scheme) + noise).clip(0, 255).astype(np.uint8)))
    return made
