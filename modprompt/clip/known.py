"""A CLIP before it is loaded: its name, how its images are made, what goes into its sides, what its files look like.

Known by name are OpenAI's, glyph-clip, and open_clip's pretrained tags (MODEL/TAG). PyTorch is imported only where
weights are read, open_clip only for a name that is none of the others.
"""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.checks import known_names
from modprompt.clip import hub
from modprompt.errors import UserError
from modprompt.io.files import of_user
from modprompt.places import PACKAGE

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
# a file's configs and tokenizer
_BESIDE = ("*config.json", "tokenizer.json", "vocab.*", "merges.txt", "*tokens*.json", "*.model")


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
        sides = [f"{side} side" for side, kind in zip(("text", "vision"), self) if kind == PROMPTED]
        return "everything" if len(sides) == len(self) else " and ".join([*sides, "heads"])


class Shape(NamedTuple):
    """The sizes of a CLIP of OpenAI's design that its tensors show; pairs are (text side, image side)."""

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


class OpenAIs(NamedTuple):
    """One of OpenAI's CLIPs."""

    sha256: str  # of its file (hex)
    pixels: int  # side of its images
    layers: tuple[int, int]  # of the text side and the image side; a ResNet has none


OPENAI = {
    "RN50": OpenAIs("afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762", 224, (12, 0)),
    "RN101": OpenAIs("8fa8567bab74a42d41c5915025a8e4538c3bdbe8804a470a72f30b0d94fab599", 224, (12, 0)),
    "RN50x4": OpenAIs("7e526bd135e493cef0776de27d5f42653e6b4c8bf9e0f653bb11773263205fdd", 288, (12, 0)),
    "RN50x16": OpenAIs("52378b407f34354e150460fe41077663dd5b39c54cd0bfd2b27167a4a06ec9aa", 384, (12, 0)),
    "RN50x64": OpenAIs("be1cfb55d75a9666199fb2206c106743da0f6468c9d327f3e0d0a543a9919d9c", 448, (12, 0)),
    "ViT-B/32": OpenAIs("40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af", 224, (12, 12)),
    "ViT-B/16": OpenAIs("5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f", 224, (12, 12)),
    "ViT-L/14": OpenAIs("b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836", 224, (12, 24)),
    "ViT-L/14@336px": OpenAIs("3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02", 336, (12, 24)),
}
_SIZES = {  # patch, widths and joint width (Shape) of each
    "RN50": (0, (512, 64), 1024),
    "RN101": (0, (512, 64), 512),
    "RN50x4": (0, (640, 80), 640),
    "RN50x16": (0, (768, 96), 768),
    "RN50x64": (0, (1024, 128), 1024),
    "ViT-B/32": (32, (512, 768), 512),
    "ViT-B/16": (16, (512, 768), 512),
    "ViT-L/14": (14, (768, 1024), 768),
    "ViT-L/14@336px": (14, (768, 1024), 768),
}


def shape_of_openai(name: str) -> Shape:
    """Return the sizes of one of OpenAI's CLIPs."""
    row, (patch, widths, joint) = OPENAI[name], _SIZES[name]
    return Shape(row.pixels, patch, row.layers, widths, joint)


def plain(name: str) -> str:
    """OpenAI's own name for open_clip's MODEL/openai; every other name unchanged."""
    model, _, tag = name.rpartition("/")
    model = model.removesuffix("-quickgelu")
    names = {own.replace("/", "-").replace("@336px", "-336"): own for own in OPENAI}
    return names.get(model, name) if tag == "openai" else name


def is_tag(name: str) -> bool:
    """Whether only open_clip can know a name."""
    return bool(name) and plain(name) not in (*OPENAI, EMBEDDED) and not name.startswith(hub.PREFIX)


def require(name: str, where: str = "") -> Any:
    """open_clip's tag of a name (open_clips.py); None for the other names, which are known here.

    Raises UserError if there is no such name; similar ones are named. `where`, if any, begins the message.
    """
    try:
        if name.startswith(hub.PREFIX):
            hub.parse(name)
        if not name:
            raise UserError(
                "No CLIP model is specified. Set --backbone to a name (for example ViT-B/16), or set "
                "MODEL.BACKBONE.PATH to a file."
            )
        if not is_tag(name):
            return None
        if of_user(name).exists() and named(name).path:
            raise UserError(
                f"{name} is a file or folder, not the name of a CLIP model. Set MODEL.BACKBONE.PATH to this path."
            )
        if "/" not in name or name.endswith("/"):
            near = known_names(name, [*OPENAI, EMBEDDED])
            raise UserError(
                f"Unknown CLIP model {name!r}{near} Run `modprompt backbones` to list the CLIP models of open_clip."
            )
        from modprompt.clip import open_clips

        return open_clips.tag(name)
    except UserError as error:
        raise UserError(f"{where}: {error}" if where else str(error)) from None


def kinds_and_layers(name: str) -> tuple[Kinds, tuple[int, int]] | None:
    """The kinds of a CLIP's sides and their numbers of layers (text, image; 0 if not known) before it is loaded.

    None for a repository of a hub, whose config is not read yet. Raises as require.
    """
    found = require(name)
    if found is not None:
        from modprompt.clip import open_clips

        return open_clips.kinds_of(found.model), open_clips.layers_of(found.model)
    if name.startswith(hub.PREFIX):
        return None
    layers = (8, 8) if name == EMBEDDED else OPENAI[plain(name)].layers
    return Kinds(image=PROMPTED if layers[1] else RESNET), layers


def repository(name: str) -> tuple[str, str] | None:
    """(OWNER/NAME, revision or "") of a name's weights on the hub, None if they are elsewhere; raises as require."""
    if name.startswith(hub.PREFIX):
        return hub.parse(name)
    found = require(name) if name else None
    return None if found is None else (found.repo, found.revision)


def pinned(name: str, commit: str) -> str:
    """A name that gives the same weights again: weights of a hub at the commit that was used."""
    return f"{name}@{commit}" if commit and name and not name.startswith(hub.PREFIX) else name  # a hub's name has it


def whose(name: str, dialect: str) -> str:
    """Whose weights a CLIP has, in words: the embedded one has OpenAI's names of tensors, but its own weights."""
    return "modprompt's own" if name == EMBEDDED else dialect


class Asked(NamedTuple):
    """A CLIP as a user names it; empty for what is not given."""

    name: str = ""  # a known name, or "hf-hub:owner/name@revision"; not read if there is a path
    path: str = ""  # a file or folder of weights
    activation: str = ""  # quick_gelu or gelu, for weights of which nothing else says it
    heads: tuple[int, ...] = ()  # likewise: (text side, image side); a ResNet's second is its attention pool's
    model: str = ""  # likewise: open_clip's name, MODEL or MODEL/TAG

    @property
    def file(self) -> Path | None:
        """Its file or folder; None for a name whose file's hash or commit is part of its address."""
        if self.path:
            return of_user(self.path).absolute()
        return EMBEDDED_FILE if self.name == EMBEDDED else None

    @property
    def key(self) -> str:
        """All of it as one text."""
        said = [self.activation, str(list(self.heads))] if self.activation or self.heads else []
        return " ".join([str(self.file or self.name), *said, *filter(None, [self.model])])


def asked_of(backbone: Any) -> Asked:
    """The CLIP that the node MODEL.BACKBONE of a run names."""
    heads = tuple(backbone.HEADS) if isinstance(backbone.HEADS, (tuple, list)) else (backbone.HEADS,)
    return Asked(backbone.NAME, backbone.PATH, backbone.ACTIVATION, heads, backbone.MODEL)


def named(text: str) -> Asked:
    """Return what a text means that is a name, or the path of a file or folder; a registered name wins over a file."""
    path = of_user(text)
    looks_so = path.suffix in SUFFIXES or text.startswith(("/", "./", "../", "~"))
    is_path = is_tag(text) and (looks_so or (path.exists() and not _is_registered(text)))
    return Asked(path=str(path)) if is_path else Asked(text)


def _is_registered(text: str) -> bool:
    """Return True if open_clip has a CLIP of this name."""
    if "/" not in text:
        return False
    from modprompt.clip import open_clips

    try:
        return bool(open_clips.tag(text))
    except UserError:
        return False


def seen(clip: Asked) -> dict[str, str]:
    """What its files look like, as a result has it; `looks` is empty if nothing on disk tells."""
    return {"clip": clip.key, "looks": _looks(clip)}


def _looks(clip: Asked) -> str:
    """Sizes and times of its files, or its commit."""
    if clip.file is None:
        try:
            address = repository(clip.name)
        except UserError:
            return ""
        there = hub.cached(*address) if address else None
        return f"commit {there.commit}" if there else "" if address else "by its SHA-256"
    try:
        file, folder = clip.file, clip.file.parent
        files = file.rglob("*") if file.is_dir() else [file, *(one for some in _BESIDE for one in folder.glob(some))]
        found = [one.stat() for one in files]
    except OSError:
        return ""
    return f"{sum(one.st_size for one in found)} bytes, {max((one.st_mtime_ns for one in found), default=0)} ns"


_WHEN_READ: dict[str, dict[str, str]] = {}


def note(clip: Asked) -> None:
    """Remember what its files look like; called before they are read."""
    _WHEN_READ[clip.key] = seen(clip)


def when_read(clip: Asked) -> dict[str, str]:
    """What its files looked like when this process read them."""
    found = _WHEN_READ.get(clip.key, {})
    return found if found.get("looks") else seen(clip)  # a hub's commit is known afterwards


def identity(clip: Asked) -> tuple[str, Mapping[str, Any]]:
    """Its fingerprint, and the facts of a tokenizer that is not CLIP's own; its weights are read, once as they are.

    Raises:
        UserError: as clip.load.load.
    """
    return _identity(clip, _looks(clip))


@functools.lru_cache(maxsize=64)
def _identity(clip: Asked, looks: str) -> tuple[str, Mapping[str, Any]]:
    import torch

    from modprompt.clip.facts import facts_of
    from modprompt.clip.load import load

    with torch.random.fork_rng(devices=[]):
        clip_model = load(clip)
    return clip_model.fingerprint, facts_of(clip_model).tokenizer
