"""Finding the weights and the architecture of the CLIP model that a user names.

Weights are rejected if their architecture is unknown, or if two sources contradict each other.
"""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from modprompt.clip import hub, known, lookup, open_clips, package, transformers_config
from modprompt.clip.open_clips import CONFIG_FILE, TRANSFORMERS_FILE
from modprompt.clip.spec import (
    ACTIVATIONS,
    BARE,
    EMBEDDED,
    EMBEDDED_FILE,
    OPEN_CLIP,
    OPENAI,
    SUFFIXES,
    TRANSFORMERS,
    ClipSpec,
    Images,
)
from modprompt.errors import UserError
from modprompt.io.files import of_user
from modprompt.io.records import file_hash

LOG = logging.getLogger("modprompt")
INDEX = ".index.json"  # behind the name of a file of weights that is in several
_OPEN_CLIP = ("open_clip_model.safetensors", *(f"open_clip_pytorch_model{one}" for one in SUFFIXES[:3]))
_TRANSFORMERS = ("model.safetensors", "pytorch_model.bin")
_RUN_EMBEDDED = f"To use the bundled small CLIP model instead, set --backbone {EMBEDDED} (for the scripts: CFG=glyph)."
_NOT_ASKED = (
    "MODEL.BACKBONE.ACTIVATION, HEADS and MODEL only apply to weights without a config, but {} describes these "
    "weights. Remove these settings."
)


def find(asked: ClipSpec) -> ClipSpec:
    """Find the weights and the architecture of a CLIP model; download the weights if necessary.

    Args:
        asked: the model that the user names.

    Returns:
        The same with all attributes of `ClipSpec`.

    Raises:
        UserError: if there is no such model, or its architecture is unknown.
    """
    if asked.activation not in ("", *ACTIVATIONS):
        raise UserError(f"MODEL.BACKBONE.ACTIVATION must be {' or '.join(ACTIVATIONS)}, got {asked.activation!r}.")
    if len(asked.heads) not in (0, 2) or not all(type(one) is int and one > 0 for one in asked.heads):
        raise UserError(
            f"MODEL.BACKBONE.HEADS must be two whole numbers (text encoder, image encoder), got {asked.heads!r}."
        )
    if asked.path:
        return _of_path(asked)
    if asked.activation or asked.heads or asked.model:
        raise UserError(_NOT_ASKED.format(asked.name))
    name = known.plain(asked.name)
    if known.is_tag(name) or name.startswith(hub.PREFIX):
        return _of_hub(asked)
    lookup.require(name)
    if name == EMBEDDED:
        return asked._replace(name=name, weights=EMBEDDED_FILE, dialect=OPENAI, images=Images(32))
    row = known.OPENAI[name]
    return asked._replace(
        name=name, weights=_openai_file(name), dialect=OPENAI, images=Images(row.pixels), sha256=row.sha256
    )


def describes_itself(path: str) -> bool:
    """Return True if the architecture of a file or folder of weights is known without settings of the user."""
    try:
        return find(ClipSpec(path=path)).dialect != BARE
    except UserError:
        return False


def _openai_file(name: str) -> Path:
    path: Path = of_user("~/.cache/clip") / f"{name.replace('/', '-').replace('@', '-')}.pt"
    if path.is_file():
        return path  # its SHA-256 is compared when it is read
    clip = package.import_clip()
    try:
        return Path(clip._download(clip._MODELS[name], str(path.parent)))
    except (OSError, RuntimeError, KeyError) as error:  # an old package does not know all names
        raise UserError(
            f"The weights of {name} are not at {path}, and the download failed ({error}). Save the weights at this "
            f"path, or set MODEL.BACKBONE.PATH to their file. {_RUN_EMBEDDED}"
        ) from None


def _of_hub(asked: ClipSpec) -> ClipSpec:
    """Find a pretrained model of open_clip, or a repository on a hub that contains a config."""
    tag = lookup.require(asked.name)
    names: Sequence[str] = ()
    if tag is not None:
        names = (tag.file,) if tag.file else _OPEN_CLIP
        if tag.model["text_cfg"].get("hf_tokenizer_name"):
            package.transformers()  # before the download
        if tag.differ:
            warnings.warn(
                f"{tag.name}: open_clip specifies different activation functions for the pretrained tag and for the "
                "model config. The model uses quick_gelu.",
                stacklevel=2,
            )
    repo, revision = cast(tuple[str, str], lookup.repository(asked.name))
    weights, commit = fetched(asked.name, repo, revision, lambda there: _wanted(there, names))
    if tag is not None:
        return asked._replace(
            name=tag.name, weights=weights, dialect=OPEN_CLIP, config=tag.model, images=tag.images, commit=commit
        )
    return _of_weights(asked, weights)._replace(name=f"{hub.PREFIX}{repo}@{commit}", commit=commit)


def fetched(name: str, repo: str, revision: str, choose: hub.Choose) -> tuple[Path, str]:
    """Download chosen files of a repository; return the path of the first file and the commit, which is also logged."""
    there = hub.snapshot(repo, revision, choose)
    first = choose(there.files())[0]
    LOG.warning("%s: %s of %s at commit %s", name, first, repo, there.commit)  # shown without a logging setup
    return there.folder / first, there.commit


def _of_path(asked: ClipSpec) -> ClipSpec:
    path = of_user(asked.path)
    try:
        if not path.exists():
            at = f"The weights of CLIP at {path} (MODEL.BACKBONE.PATH or --clip) do not exist. Check the path."
            is_name = not lookup.named(asked.path).path
            more = f" To name a CLIP model, set --backbone (MODEL.BACKBONE.NAME). {_RUN_EMBEDDED}" if is_name else ""
            raise UserError(f"{at}{more}")
        if path.is_dir():
            path = path / _pick([one.name for one in path.iterdir() if one.is_file()], asked.path)
        return _of_weights(asked, path)
    except OSError as error:
        raise UserError(
            f"MODEL.BACKBONE.PATH {path} cannot be read ({error.strerror}). Check its permissions."
        ) from None


def _of_weights(asked: ClipSpec, weights: Path) -> ClipSpec:
    """Find the architecture of a file of weights: from a config next to it, its hash, or settings of the user."""
    own, others = weights.parent / CONFIG_FILE, weights.parent / TRANSFORMERS_FILE
    is_others = others.is_file() and (weights.name.removesuffix(INDEX) in _TRANSFORMERS or not own.is_file())
    asked = asked._replace(name="", weights=weights)
    if is_others or own.is_file():
        if asked.activation or asked.heads or asked.model:
            raise UserError(_NOT_ASKED.format(others if is_others else own))
        if is_others:
            config, images = transformers_config.read(weights.parent)
            return asked._replace(dialect=TRANSFORMERS, config=config, images=images)
        config, images = open_clips.of_file(own)
        return asked._replace(dialect=OPEN_CLIP, config=config, images=images)
    if bool(asked.activation) != bool(asked.heads) or (asked.model and asked.heads):
        raise UserError(
            "Weights without a config need additional settings. Set either both MODEL.BACKBONE.ACTIVATION and "
            "MODEL.BACKBONE.HEADS, or only MODEL.BACKBONE.MODEL."
        )
    if asked.model:
        config, images = open_clips.of_name(asked.model)
        return asked._replace(dialect=OPEN_CLIP, config=config, images=images)
    if asked.heads:
        return asked._replace(dialect=BARE, images=Images(stated=False))
    digest = file_hash(weights) if weights.suffix in (".pt", ".pth") else ""
    row = next((one for one in known.OPENAI.values() if one.sha256 == digest), None)
    if row is None:
        raise UserError(
            f"The activation and the attention heads of {weights} are unknown, because the file has no config. Put "
            "the config that belongs to the weights into the same folder, or set MODEL.BACKBONE.MODEL (in Python: "
            "model=) to open_clip's name of the model. Alternatively, set MODEL.BACKBONE.ACTIVATION (activation=) to "
            "quick_gelu or gelu and MODEL.BACKBONE.HEADS (heads=) to the heads of the text and image encoder, which "
            "are 64 wide in most models. With `modprompt train`, --backbone NAME can also name a registered CLIP "
            "model of the same architecture."
        )
    return asked._replace(dialect=OPENAI, images=Images(row.pixels), sha256=digest)


def _wanted(there: Sequence[str], names: Sequence[str] = ()) -> list[str]:
    """Return the files of a repository to download, the weights first; raise UserError if a config is missing."""
    weights = _pick(there, "the repository", names)
    if not names and not {CONFIG_FILE, TRANSFORMERS_FILE} & set(there):
        raise UserError(
            f"the repository contains no description of the model: both {CONFIG_FILE} and {TRANSFORMERS_FILE} are "
            "missing"
        )
    stem, _, ending = weights.removesuffix(INDEX).rpartition(".")
    shards = [one for one in there if one.startswith(f"{stem}-") and one.endswith(f".{ending}")]
    needed = [weights, *(shards if weights.endswith(INDEX) else [])]
    return [*needed, *(one for one in there if one.endswith((".json", ".txt", ".model")) and one != weights)]


def _pick(there: Sequence[str], where: str, names: Sequence[str] = ()) -> str:
    """Return the file with the weights: one of `names`, of the usual names, or the only file of weights."""
    for one in names or (*_OPEN_CLIP, *_TRANSFORMERS):
        for name in (one, one + INDEX):
            if name in there:
                return name
    files = sorted(one for one in there if one.endswith(SUFFIXES) and "/" not in one)
    if len(files) != 1:
        listed = ", ".join(files) or "none"
        raise UserError(
            f"{where} must contain exactly one file of weights ({', '.join(SUFFIXES)}), but contains {listed}. Set "
            "the path to one file."
        )
    return files[0]
