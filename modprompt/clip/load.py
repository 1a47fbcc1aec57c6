"""A CLIP with its image transform, the pair that clip.load gives."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modprompt.clip import build, hub, known
from modprompt.clip.design import SQUASH, Images
from modprompt.clip.facts import facts_of, look_at
from modprompt.clip.key_mapping import TRANSFORMERS
from modprompt.clip.source import SUFFIXES
from modprompt.clip.structure import CLIP
from modprompt.errors import UserError
from modprompt.io.paths import of_user


def load_clip(
    name: str | Path = "ViT-B/16",
    device: str | torch.device | None = None,
    *,
    activation: str = "",
    heads: Sequence[int] = (),
    model: str = "",
) -> tuple[CLIP, Callable[..., Tensor]]:
    """A CLIP and the transform of its images.

    Args:
        name: a known name (`modprompt backbones` lists them: OpenAI's, "glyph-clip", the small one that ships with the
            package, open_clip's as "ViT-B-16/laion2b_s34b_b88k"), a hub's "hf-hub:owner/name@revision", or a file or
            folder of weights (OpenAI's archives; state dicts of OpenAI's, open_clip's or transformers' names as .pt,
            .bin or .safetensors, whole or sharded, with their config in their folder).
        device: where to put it; CUDA if there is any, else the CPU. On a CPU its weights are float32, elsewhere as
            they were saved, OpenAI's half.
        activation: quick_gelu or gelu, for a file of which nothing else says it.
        heads: the same for numbers of attention heads: (text side, image side).
        model: the same for open_clip's name of the model: "ViT-B-16-SigLIP2", or with its tag.

    Returns:
        (model in eval mode, transform from a PIL image to (3, H, W)). The model carries its name, file, how its images
        are made, and a fingerprint of its weights, which saved prompts name.

    Raises:
        UserError: on an unknown name, weights that cannot be found or read, or of which nothing says how to run them.
    """
    if not isinstance(name, (str, Path)) or not str(name):
        raise UserError(f"name must be a CLIP's name, or the path of a file or folder, got {name!r}")
    if isinstance(heads, str) or not isinstance(heads, Sequence):
        raise UserError(f"heads must be two whole numbers, (text side, image side), got {heads!r}")
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    path = path_of(str(name))
    clip_model = build.load_clip("" if path else str(name), path, activation, tuple(heads), model).eval()
    clip_model = clip_model.float() if place.type == "cpu" else clip_model
    look_at(clip_model.to(place))
    return clip_model, transform_of(clip_model)


def path_of(name: str) -> str:
    """The file or folder that a name means; empty if it is a CLIP's name."""
    path = of_user(name)
    if name.startswith(hub.PREFIX) or known.find(known.at_revision(name)[0]) is not None:
        return ""
    try:
        is_there = path.exists()
    except OSError:  # too long, or in a folder without permission: reported when it is read
        is_there = True
    looks_so = path.suffix in SUFFIXES or name.startswith(("/", "./", "../", "~"))
    return str(path) if is_there or looks_so else ""


def transform_of(clip_model: CLIP) -> Callable[..., Tensor]:
    """The transform from a PIL image to (3, H, W), as this CLIP's images are made.

    Raises:
        UserError: for a module from elsewhere, whose images are not known.
    """
    facts = facts_of(clip_model)
    if not facts.mean:
        raise UserError("nothing says how this CLIP's images are made: use the transform that came with it")
    images = Images(facts.size, facts.mean, facts.std, facts.interpolation, facts.resize)
    return image_transform(images, facts.dialect == TRANSFORMERS)


def image_transform(images: Images, colours_first: bool = False) -> Callable[..., Tensor]:
    """Resize, cut out the centre, normalise; colours become RGB after that cut, as in clip.load, or first."""
    from torchvision import transforms

    how = transforms.InterpolationMode(images.interpolation)
    size = images.size
    shape = [size, size] if images.resize == SQUASH else size
    composed: Callable[..., Tensor] = transforms.Compose(
        [
            *([to_rgb] if colours_first else []),
            transforms.Resize(shape, interpolation=how),
            transforms.CenterCrop(size),
            to_rgb,
            transforms.ToTensor(),
            transforms.Normalize(images.mean, images.std),
        ]
    )
    return composed


def to_rgb(image: Any) -> Any:
    """A PIL image in RGB."""
    return image.convert("RGB")
