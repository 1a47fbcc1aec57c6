"""How a CLIP's images are made, and what can be put into its sides; PyTorch is not needed here."""

from typing import Any, NamedTuple

QUICK_GELU, GELU = "quick_gelu", "gelu"
ACTIVATIONS = (QUICK_GELU, GELU)
SHORTEST, SQUASH = "shortest", "squash"
OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)  # per channel
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)
# kinds of sides
PROMPTED = "prompted"  # a transformer for prompts: OpenAI's, or in a tower (towers.py)
RESNET = "ResNet"  # CLIP's own, which has no layers for prompts
FEATURES = "features"  # a tower (towers.py) that only gives features
_RUNS = {
    (True, True): "everything",
    (True, False): "text side and heads",
    (False, True): "vision side and heads",
    (False, False): "heads",
}


class Images(NamedTuple):
    """How images are made for a CLIP."""

    size: int = 0  # side in pixels; 0 if only the weights say it
    mean: tuple[float, ...] = OPENAI_MEAN  # per channel, of pixels from 0 to 1
    std: tuple[float, ...] = OPENAI_STD
    interpolation: str = "bicubic"  # or bilinear
    resize: str = SHORTEST  # scales the shorter side to `size` and cuts out the centre; "squash" scales both sides
    stated: bool = True  # something says this of the weights; else these are OpenAI's values, which most CLIPs have

    def settings(self) -> dict[str, Any]:
        """The same as settings of a run's node INPUT, by key."""
        return {
            "SIZE": (self.size, self.size),
            "PIXEL_MEAN": list(self.mean),
            "PIXEL_STD": list(self.std),
            "INTERPOLATION": self.interpolation,
            "RESIZE_MODE": self.resize,
        }


class Kinds(NamedTuple):
    """The kinds of both sides."""

    text: str = PROMPTED  # or FEATURES
    image: str = PROMPTED  # or RESNET, FEATURES

    @property
    def runs(self) -> str:
        """What runs on such a CLIP, in words."""
        return _RUNS[self.text == PROMPTED, self.image == PROMPTED]
