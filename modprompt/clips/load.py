"""A stock CLIP with its image transform, the pair that clip.load gives."""

from pathlib import Path
from typing import Any, Callable, Tuple, Union

import torch
from torch import Tensor

from modprompt.clips import build
from modprompt.clips.facts import MEAN, STD
from modprompt.clips.structure import CLIP
from modprompt.errors import UserError


def load_clip(
    name: Union[str, Path] = "ViT-B/16", device: Union[str, torch.device, None] = None
) -> Tuple[CLIP, Callable[..., Tensor]]:
    """A CLIP and the transform of its images.

    Args:
        name: one of clip.available_models(), "glyph-clip" (the small one that ships with the package), a file (a state
            dict, or a TorchScript archive as OpenAI publishes them), or a folder with one such file.
        device: where to put it; CUDA if there is any, else the CPU. On a CPU its weights are float32, elsewhere half.

    Returns:
        (model in eval mode, transform from a PIL image to (3, H, W)). The model carries its name, file, the mean and
        std of its images, and a fingerprint of its weights, which saved prompts name.

    Raises:
        UserError: on an unknown name, or weights that cannot be had or read.
    """
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    path = _file_of(str(name))
    clip_model = build.load_clip("" if path else str(name), path).eval()
    clip_model = clip_model.float() if place.type == "cpu" else clip_model
    return clip_model.to(place), transform_of(clip_model)


def _file_of(name: str) -> str:
    """The file that a name means; empty if it is a CLIP's name."""
    path = Path(name).expanduser()
    if name in build.known() or not (path.exists() or path.suffix):
        return ""
    if not path.is_dir():
        return str(path)
    files = sorted(one for one in path.iterdir() if one.suffix in (".pt", ".pth", ".bin", ".tar"))
    if len(files) != 1:
        there = ", ".join(one.name for one in files) or "nothing"
        raise UserError(f"{path} must hold one file of weights (.pt, .pth, .bin), there is: {there}")
    return str(files[0])


def transform_of(clip_model: CLIP) -> Callable[..., Tensor]:
    """Resize the short side (bicubic), cut out the centre, normalise, as CLIP was trained."""
    from torchvision import transforms

    size = clip_model.visual.input_resolution
    composed: Callable[..., Tensor] = transforms.Compose(
        [
            transforms.Resize(size, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(size),
            _to_rgb,
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    return composed


def _to_rgb(image: Any) -> Any:
    return image.convert("RGB")
