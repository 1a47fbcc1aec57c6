"""The CLIPs that are known by name: OpenAI's, glyph-clip, and open_clip's pretrained tags (MODEL/TAG).

open_clip is imported only for a name that is none of the others. PyTorch is not needed here for those.
"""

import difflib
from typing import Any, NamedTuple

from modprompt.clip import hub
from modprompt.clip.design import PROMPTED, RESNET, Kinds
from modprompt.errors import UserError
from modprompt.io.files import of_user

EMBEDDED = "glyph-clip"


class OpenAIs(NamedTuple):
    """One of OpenAI's CLIPs."""

    sha256: str  # of its file (hex)
    model: str  # open_clip's name of its shape
    pixels: int  # side of its images
    layers: tuple[int, int]  # of the text side and the image side; a ResNet has none


OPENAI = {
    "RN50": OpenAIs("afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762", "RN50", 224, (12, 0)),
    "RN101": OpenAIs("8fa8567bab74a42d41c5915025a8e4538c3bdbe8804a470a72f30b0d94fab599", "RN101", 224, (12, 0)),
    "RN50x4": OpenAIs("7e526bd135e493cef0776de27d5f42653e6b4c8bf9e0f653bb11773263205fdd", "RN50x4", 288, (12, 0)),
    "RN50x16": OpenAIs("52378b407f34354e150460fe41077663dd5b39c54cd0bfd2b27167a4a06ec9aa", "RN50x16", 384, (12, 0)),
    "RN50x64": OpenAIs("be1cfb55d75a9666199fb2206c106743da0f6468c9d327f3e0d0a543a9919d9c", "RN50x64", 448, (12, 0)),
    "ViT-B/32": OpenAIs("40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af", "ViT-B-32", 224, (12, 12)),
    "ViT-B/16": OpenAIs("5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f", "ViT-B-16", 224, (12, 12)),
    "ViT-L/14": OpenAIs("b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836", "ViT-L-14", 224, (12, 24)),
    "ViT-L/14@336px": OpenAIs(
        "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02", "ViT-L-14-336", 336, (12, 24)
    ),
}


def plain(name: str) -> str:
    """OpenAI's own name for open_clip's MODEL/openai; every other name unchanged."""
    model, _, tag = name.rpartition("/")
    model = model.removesuffix("-quickgelu")
    return next((own for own, one in OPENAI.items() if tag == "openai" and one.model == model), name)


def is_openai(name: str) -> bool:
    """Whether a name belongs to one of OpenAI's CLIPs."""
    return plain(name) in OPENAI


def is_tag(name: str) -> bool:
    """Whether only open_clip can know a name."""
    return bool(name) and not is_openai(name) and name != EMBEDDED and not name.startswith(hub.PREFIX)


def at_revision(name: str) -> tuple[str, str]:
    """(MODEL/TAG, revision) for open_clip's MODEL/TAG@revision; (name, "") for all others."""
    plain_name, mark, revision = name.rpartition("@")
    return (plain_name, revision) if mark and is_tag(name) else (name, "")


def require(name: str, where: str = "") -> Any:
    """open_clip's tag of a name (open_clips.py); None for the other names, which are known here.

    Raises UserError if there is no such name; similar ones are named. `where`, if any, begins the message.
    """
    try:
        if name.startswith(hub.PREFIX):
            hub.parse(name)
        if not name:
            raise UserError("no CLIP is named: give --backbone ViT-B/16, say, or a file as MODEL.BACKBONE.PATH")
        if not is_tag(name):
            return None
        if of_user(name).exists():
            raise UserError(f"{name} is a file or folder: give it as MODEL.BACKBONE.PATH")
        if "/" not in name or name.endswith("/"):
            near = difflib.get_close_matches(name, [*OPENAI, EMBEDDED], n=3, cutoff=0.4)
            hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ";"
            raise UserError(f"there is no CLIP {name!r}{hint} `modprompt backbones` lists all that are known")
        from modprompt.clip import open_clips

        return open_clips.tag(at_revision(name)[0])
    except UserError as error:
        raise UserError(f"{where}: {error}" if where else str(error)) from None


def kinds_and_layers(name: str) -> tuple[Kinds, tuple[int, int]] | None:
    """The kinds of a CLIP's sides and their numbers of layers (text, image; 0 if not known) before it is loaded.

    None for a repository of a hub, whose config is not read yet. Raises as require.
    """
    found = require(name)
    if found is not None:
        from modprompt.clip import open_clips

        return open_clips.kinds_of(found.model), (0, 0)
    if name.startswith(hub.PREFIX):
        return None
    layers = (8, 8) if name == EMBEDDED else OPENAI[plain(name)].layers
    return Kinds(image=PROMPTED if layers[1] else RESNET), layers


def repository(name: str) -> tuple[str, str] | None:
    """(OWNER/NAME, revision or "") of a name's weights on the hub, None if they are elsewhere; raises as require."""
    if name.startswith(hub.PREFIX):
        return hub.parse(name)
    found = require(name) if name else None
    return None if found is None else (found.repo, at_revision(name)[1])


def pinned(name: str, commit: str) -> str:
    """A name that gives the same weights again: weights of a hub at the commit that was used."""
    return f"{name}@{commit}" if commit and name and not name.startswith(hub.PREFIX) else name  # a hub's name has it


def whose(name: str, dialect: str) -> str:
    """Whose weights a CLIP has, in words: the embedded one has OpenAI's names of tensors, but its own weights."""
    return "this project's own" if name == EMBEDDED else dialect
