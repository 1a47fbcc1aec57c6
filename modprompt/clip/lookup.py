"""The CLIP models that a name can mean, and the state of their files.

PyTorch is not imported.
"""

from typing import Any

from modprompt.checks import known_names
from modprompt.clip import hub, open_clips
from modprompt.clip.known import OPENAI, is_tag, plain
from modprompt.clip.spec import EMBEDDED, PROMPTED, RESNET, SUFFIXES, ClipSpec, Kinds
from modprompt.errors import UserError
from modprompt.io.files import of_user

# a file's configs and tokenizer
_BESIDE = ("*config.json", "tokenizer.json", "vocab.*", "merges.txt", "*tokens*.json", "*.model")


def require(name: str, where: str = "") -> Any:
    """Return the pretrained tag of open_clip for a name; None for models of OpenAI, glyph-clip and repositories.

    Args:
        name: the name.
        where: the beginning of an error message; "" for none.

    Raises:
        UserError: if there is no such model; the message suggests similar names.
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
        return open_clips.tag(name)
    except UserError as error:
        raise UserError(f"{where}: {error}" if where else str(error)) from None


def kinds_and_layers(name: str) -> tuple[Kinds, tuple[int, int]] | None:
    """Return the kinds of both encoders and their numbers of layers (text, image; 0 if unknown) for a name.

    The result is None for a repository on a hub, whose config is not downloaded. The errors are those of `require`.
    """
    found = require(name)
    if found is not None:
        return open_clips.kinds_of(found.model), open_clips.layers_of(found.model)
    if name.startswith(hub.PREFIX):
        return None
    layers = (8, 8) if name == EMBEDDED else OPENAI[plain(name)].layers
    return Kinds(image=PROMPTED if layers[1] else RESNET), layers


def repository(name: str) -> tuple[str, str] | None:
    """Return (OWNER/NAME, revision or "") of the repository with the weights, or None if they are not on the hub."""
    if name.startswith(hub.PREFIX):
        return hub.parse(name)
    found = require(name) if name else None
    return None if found is None else (found.repo, found.revision)


def named(text: str) -> ClipSpec:
    """Return the CLIP model for a string, which can be a name or a path; a registered name has priority."""
    path = of_user(text)
    looks_so = path.suffix in SUFFIXES or text.startswith(("/", "./", "../", "~"))
    is_path = is_tag(text) and (looks_so or (path.exists() and not _is_registered(text)))
    return ClipSpec(path=str(path)) if is_path else ClipSpec(text)


def _is_registered(text: str) -> bool:
    """Return True if open_clip has a CLIP of this name."""
    if "/" not in text:
        return False
    try:
        return bool(open_clips.tag(text))
    except UserError:
        return False


def seen(clip: ClipSpec) -> dict[str, str]:
    """Return the size and modification time of the files of a CLIP model, in the form that results store."""
    return {"clip": clip.key, "looks": state_of_files(clip)}


def state_of_files(clip: ClipSpec) -> str:
    """Return the sizes and times of the files of a CLIP model, or its commit, as a string."""
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


def note(clip: ClipSpec) -> None:
    """Remember the size and modification time of the files of a CLIP model before they are read."""
    _WHEN_READ[clip.key] = seen(clip)


def when_read(clip: ClipSpec) -> dict[str, str]:
    """Return the size and modification time that the files of a CLIP model had when this process read them."""
    found = _WHEN_READ.get(clip.key, {})
    return found if found.get("looks") else seen(clip)  # a hub's commit is known afterwards
