"""The CLIP models of OpenAI and the bundled model glyph-clip."""

from typing import NamedTuple

from modprompt.clip import hub
from modprompt.clip.spec import EMBEDDED, Shape


class OpenAIs(NamedTuple):
    """A CLIP model of OpenAI."""

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
    """Return the name of OpenAI for a name MODEL/openai of open_clip; other names are returned unchanged."""
    model, _, tag = name.rpartition("/")
    model = model.removesuffix("-quickgelu")
    names = {own.replace("/", "-").replace("@336px", "-336"): own for own in OPENAI}
    return names.get(model, name) if tag == "openai" else name


def is_tag(name: str) -> bool:
    """Return True if a name can only be that of a pretrained model of open_clip."""
    return bool(name) and plain(name) not in (*OPENAI, EMBEDDED) and not name.startswith(hub.PREFIX)


def pinned(name: str, commit: str) -> str:
    """Return a name that always refers to the same weights: the name of a model on a hub with its commit."""
    return f"{name}@{commit}" if commit and name and not name.startswith(hub.PREFIX) else name  # a hub's name has it


def whose(name: str, dialect: str) -> str:
    """Return the origin of the weights of a CLIP model for messages."""
    return "modprompt's own" if name == EMBEDDED else dialect
