"""Whether a CLIP's weights are those that a run had: by sizes and times of its files or by its commit, else by reading.

PyTorch is imported only where weights are read.
"""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.clip import hub, known
from modprompt.errors import UserError
from modprompt.io.files import of_user
from modprompt.places import PACKAGE

# a file's configs and tokenizer
_BESIDE = ("*config.json", "tokenizer.json", "vocab.*", "merges.txt", "*tokens*.json", "*.model")
_EMBEDDED_FILE = PACKAGE / "clip" / "models" / "glyph_clip.npz"


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
        return _EMBEDDED_FILE if self.name == known.EMBEDDED else None

    @property
    def key(self) -> str:
        """All of it as one text."""
        said = [self.activation, str(list(self.heads))] if self.activation or self.heads else []
        return " ".join([str(self.file or self.name), *said, *filter(None, [self.model])])


def named(text: str) -> Asked:
    """What a setting means that is a name or a path."""
    is_path = text not in known.OPENAI and text != known.EMBEDDED and of_user(text).exists()
    return Asked(path=text) if is_path else Asked(text)


def seen(clip: Asked) -> dict[str, str]:
    """What its files look like, as a result has it; `looks` is empty if nothing on disk tells."""
    return {"clip": clip.key, "looks": _looks(clip)}


def _looks(clip: Asked) -> str:
    if clip.file is None:
        try:
            address = known.repository(clip.name)
        except UserError:
            return ""
        there = hub.cached(*address) if address else None
        return f"commit {there.commit}" if there else "" if address else "by its SHA-256"
    try:
        if clip.file.is_dir():  # in a hub's cache the weights of a repository lie deeper
            deep = (clip.file / "snapshots").is_dir()
            files = list(clip.file.rglob("*") if deep else clip.file.iterdir())
        else:
            beside = (clip.file.parent.glob(ending) for ending in _BESIDE) if clip.path else ()
            files = [clip.file, *(one for some in beside for one in some)]
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
