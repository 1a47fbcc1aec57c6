"""The description of a CLIP model before it is loaded: its weights, architecture and image preprocessing."""

from pathlib import Path
from typing import Any, NamedTuple

from modprompt.io.files import of_user
from modprompt.places import PACKAGE

OPENAI, OPEN_CLIP, TRANSFORMERS, BARE = "openai", "open_clip", "transformers", "bare"  # dialects
QUICK_GELU, GELU = "quick_gelu", "gelu"
ACTIVATIONS = (QUICK_GELU, GELU)
SHORTEST, SQUASH = "shortest", "squash"
OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)  # per channel
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)
# kinds of sides
PROMPTED = "prompted"  # a transformer for prompts: OpenAI's, or in a tower (towers.py)
RESNET = "ResNet"  # CLIP's own, which has no layers for prompts
FEATURES = "features"  # a tower that only gives features
EMBEDDED, EMBEDDED_FILE = "glyph-clip", PACKAGE / "clip" / "models" / "glyph_clip.npz"
SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".tar")  # of files of weights


class Images(NamedTuple):
    """The image preprocessing of a CLIP model."""

    size: int = 0  # side in pixels; 0 if only the weights say it
    mean: tuple[float, ...] = OPENAI_MEAN  # per channel, of pixels from 0 to 1
    std: tuple[float, ...] = OPENAI_STD
    interpolation: str = "bicubic"  # or bilinear
    resize: str = SHORTEST  # scales the shorter side to `size` and cuts out the centre; "squash" scales both sides
    stated: bool = True  # something says this of the weights; else these are OpenAI's values, which most CLIPs have

    def settings(self) -> dict[str, Any]:
        """Return the preprocessing as settings of the configuration node INPUT."""
        return {
            "SIZE": (self.size, self.size),
            "PIXEL_MEAN": list(self.mean),
            "PIXEL_STD": list(self.std),
            "INTERPOLATION": self.interpolation,
            "RESIZE_MODE": self.resize,
        }


class Kinds(NamedTuple):
    """The kinds of both encoders, which decide whether prompts can be inserted."""

    text: str = PROMPTED  # or FEATURES
    image: str = PROMPTED  # or RESNET, FEATURES

    @property
    def runs(self) -> str:
        """Which methods can be used with such a CLIP model, in words."""
        sides = [f"{side} side" for side, kind in zip(("text", "vision"), self) if kind == PROMPTED]
        return "everything" if len(sides) == len(self) else " and ".join([*sides, "heads"])


class Shape(NamedTuple):
    """The sizes of a CLIP model of OpenAI's architecture; pairs are (text encoder, image encoder)."""

    pixels: int  # side of its images
    patch: int  # side of its patches in pixels; 0 for a ResNet
    layers: tuple[int, int]  # a ResNet has none
    widths: tuple[int, int]
    joint: int  # width of the features that both sides give

    def differences(self, other: "Shape") -> list[str]:
        """Return in words what another shape has otherwise."""
        return [f"{key} {mine}, not {its}" for key, mine, its in zip(self._fields, self, other) if mine != its]

    @property
    def heads(self) -> tuple[int, int]:
        """The numbers of attention heads: each is 64 wide, and those of a ResNet are in its attention pool."""
        text, image = self.widths
        return text // 64, image // 64 if self.patch else image // 2


class ClipSpec(NamedTuple):
    """A CLIP model as a user names it, and, after `resolve.find`, where its weights are and how they are run.

    Attributes:
        name: a known name, or "hf-hub:owner/name@revision"; after `find` with the commit; "" for a file.
        path: the file or folder of weights; `name` is then ignored.
        activation: quick_gelu or gelu, for weights without a config.
        heads: the attention heads of the text and the image encoder, for weights without a config. The second number of
            a ResNet is that of its attention pool.
        model: the name of the architecture in open_clip, MODEL or MODEL/TAG, for weights without a config.
        weights: the file of the weights, or an index of several files.
        dialect: the source of the architecture: OPENAI (also for the bundled model), OPEN_CLIP, TRANSFORMERS or BARE.
        config: the model_cfg of open_clip; None for OPENAI and BARE.
        images: the preprocessing of images; its size is 0 if only the tensors show the size.
        sha256: the SHA-256 of a file of OpenAI.
        commit: the commit of the repository on a hub.
    """

    name: str = ""
    path: str = ""
    activation: str = ""
    heads: tuple[int, ...] = ()
    model: str = ""
    weights: Path = Path()
    dialect: str = ""
    config: dict[str, Any] | None = None
    images: Images = Images()
    sha256: str = ""
    commit: str = ""

    @property
    def called(self) -> str:
        """The name of the weights in messages."""
        return self.name or str(self.weights)

    @property
    def file(self) -> Path | None:
        """The file or folder of weights that the user names, or None for a name of a model on a server."""
        if self.path:
            return of_user(self.path).absolute()
        return EMBEDDED_FILE if self.name == EMBEDDED else None

    @property
    def key(self) -> str:
        """What the user named as one string."""
        said = [self.activation, str(list(self.heads))] if self.activation or self.heads else []
        return " ".join([str(self.file or self.name), *said, *filter(None, [self.model])])


def asked_of(backbone: Any) -> ClipSpec:
    """Return the CLIP model that the configuration node MODEL.BACKBONE names."""
    heads = tuple(backbone.HEADS) if isinstance(backbone.HEADS, (tuple, list)) else (backbone.HEADS,)
    return ClipSpec(backbone.NAME, backbone.PATH, backbone.ACTIVATION, heads, backbone.MODEL)
