"""What a CLIP's tensors do not show, and what else is stated of its weights, which must agree with them.

It also names the kinds of models whose tensors alone do not say how they are run.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from modprompt.errors import UserError

_FAMILIES = {  # as key_mapping.py recognises them
    "siglip": "a SigLIP (attention pooling, no class token, no causal mask, a vocabulary of its own, sigmoid loss)",
    "eva": "an EVA CLIP (an image tower of its own, some with rotary positions and SwiGLU)",
    "coca": "a CoCa (attention pooling, a class token after the text, a caption decoder)",
    "timm": "a CLIP with an image tower of timm (ConvNeXt, ViTamin, MobileCLIP, PE and the like)",
    "bert_text": "a CLIP with a BERT or multilingual text tower (no causal mask, a vocabulary of its own)",
}


def refused(where: str, family: str, sign: str = "") -> UserError:
    """The error for weights of a family, if nothing says more; `sign` is how it was recognised."""
    what = f"{where} ({sign})" if sign else where
    return UserError(
        f"{what} is {_FAMILIES[family]}: its tensors alone do not say how it is made: give open_clip's name of the "
        "model, MODEL.BACKBONE.MODEL (load_clip(file, model=...)), or put its config next to it (docs/backbones.md)"
    )


QUICK_GELU, GELU = "quick_gelu", "gelu"
ACTIVATIONS = (QUICK_GELU, GELU)
SHORTEST, SQUASH = "shortest", "squash"
OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)  # per channel
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)


class Images(NamedTuple):
    """How images are made for a CLIP.

    size: side in pixels; 0 if only the weights say it.
    mean, std: per channel, of pixels from 0 to 1.
    interpolation: bicubic or bilinear.
    resize: "shortest" scales the shorter side to `size` and cuts out the centre, "squash" scales both sides.
    stated: whether anything says this of the weights; if not, these are OpenAI's values, which most CLIPs have.
    """

    size: int = 0
    mean: tuple[float, ...] = OPENAI_MEAN
    std: tuple[float, ...] = OPENAI_STD
    interpolation: str = "bicubic"
    resize: str = SHORTEST
    stated: bool = True

    def settings(self) -> dict[str, Any]:
        """The same as settings of a run's node INPUT, by key."""
        return {
            "SIZE": (self.size, self.size),
            "PIXEL_MEAN": list(self.mean),
            "PIXEL_STD": list(self.std),
            "INTERPOLATION": self.interpolation,
            "RESIZE_MODE": self.resize,
        }


class Design(NamedTuple):
    """How the tensors of a CLIP are run.

    activation: of all feed-forward parts, quick_gelu or gelu.
    heads: numbers of attention heads: text side, image side (a ResNet's: of its attention pool).
    images: how its images are made.
    said: what a config or table says of the tensors, as {name in infer_shape.measure(): number}.
    """

    activation: str
    heads: tuple[int, ...]
    images: Images = Images()
    said: Mapping[str, int] = {}
