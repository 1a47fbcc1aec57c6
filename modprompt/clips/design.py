"""What no tensor of a CLIP shows, and what else is said of its weights, which must agree with them."""

from typing import Any, Dict, Mapping, NamedTuple, Tuple

QUICK_GELU, GELU = "quick_gelu", "gelu"
ACTIVATIONS = (QUICK_GELU, GELU)
SHORTEST, SQUASH = "shortest", "squash"
OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)  # per channel
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)


class Images(NamedTuple):
    """How images are made for a CLIP.

    size: side in pixels; 0 where only the weights say it.
    mean, std: per channel, of pixels from 0 to 1.
    interpolation: bicubic or bilinear.
    resize: "shortest" scales the shorter side to `size` and cuts out the centre, "squash" scales both sides.
    stated: whether anything says this of the weights; else it is how OpenAI's are made, which most are.
    """

    size: int = 0
    mean: Tuple[float, ...] = OPENAI_MEAN
    std: Tuple[float, ...] = OPENAI_STD
    interpolation: str = "bicubic"
    resize: str = SHORTEST
    stated: bool = True

    def settings(self) -> Dict[str, Any]:
        """What says so in a run's node INPUT, by key."""
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
    heads: of attention, of the text side and of the image side (of a ResNet: of its attention pool).
    images: how its images are made.
    said: what a config or table says of the tensors, as {name in structure_of(): number}.
    """

    activation: str
    heads: Tuple[int, ...]
    images: Images = Images()
    said: Mapping[str, int] = {}
