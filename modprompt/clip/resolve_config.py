"""How weights are run: by the table of known CLIPs, a config in their folder, OpenAI's hashes, or the user's options.

Nothing is guessed: weights are refused if none of these says it, or if two contradict each other.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.clip import config_files, hub, known
from modprompt.clip.design import Design, Images
from modprompt.clip.key_mapping import OPENAI, TRANSFORMERS
from modprompt.clip.source import Asked, Source
from modprompt.errors import UserError
from modprompt.io.safe_open import open_regular

_CONFIGS = (config_files.OPEN_CLIP_FILE, config_files.TRANSFORMERS_FILE)
_TABLE = "the table of known CLIPs"
_HOW_TO_SAY = (
    "give MODEL.BACKBONE.ACTIVATION (quick_gelu or gelu) and MODEL.BACKBONE.HEADS (text side, image side; a head is 64 "
    f"wide in most), in Python activation= and heads=; or put {_CONFIGS[0]}, or {_CONFIGS[1]} with "
    f"{config_files.IMAGES_FILE}, into its folder; a SigLIP, EVA and the like need open_clip's name of the model, "
    "MODEL.BACKBONE.MODEL, in Python model="
)


class Resolved(NamedTuple):
    """How weights are run.

    design: what their tensors do not show.
    said_by: what says it.
    dialect: whose names their tensors have; OpenAI's and open_clip's are the same, so there the source of the design
        decides; bare if that is the user's options.
    """

    design: Design
    said_by: str
    dialect: str


def say_themselves(source: Source) -> bool:
    """Whether something other than the user's options may say how weights are run."""
    return source.row is not None or bool(_configs_beside(source))


def require_resolvable(source: Source) -> None:
    """Raise UserError, before large weights are read, if nothing can say how they are run."""
    if not say_themselves(source):
        _by_options(source)


def resolve(source: Source, dialect: str) -> Resolved:
    """How weights of a dialect (key_mapping.py) are run.

    Raises:
        UserError: if nothing says it, a config states what is not supported, or two contradict each other.
    """
    found = _said(source, dialect)
    return found if dialect == OPENAI else found._replace(dialect=dialect)


def _said(source: Source, dialect: str) -> Resolved:
    row = source.row
    if row is not None and source.sha256 and row.sha256 == source.sha256:
        said_by = f"its SHA-256, which is that of OpenAI's {row.name}"
        _require_same(source.asked, row.design, said_by)
        return Resolved(row.design, said_by, row.dialect)
    by_tag = row is not None and bool(source.name) and not source.name.startswith(hub.PREFIX)
    found = None if by_tag else _by_config(source, dialect)
    if row is None:
        return found or _by_options(source)
    return _by_both(found, row) if found else Resolved(row.design, _TABLE, row.dialect)


def _configs_beside(source: Source) -> list[str]:
    folder = None if source.weights is None else source.weights.parent
    return [name for name in _CONFIGS if folder is not None and (folder / name).is_file()]


def _by_config(source: Source, dialect: str) -> Resolved | None:
    assert source.weights is not None  # for the embedded model the table says it
    folder = source.weights.parent
    path = folder / (config_files.TRANSFORMERS_FILE if dialect == TRANSFORMERS else config_files.OPEN_CLIP_FILE)
    if not path.is_file():
        return None
    design = config_files.read_transformers(folder) if dialect == TRANSFORMERS else config_files.read_open_clip(path)
    _require_same(source.asked, design, str(path))
    return Resolved(design, str(path), known.OPEN_CLIP)


def _by_both(found: Resolved, row: known.Row) -> Resolved:
    """For a config of known weights: what they were trained with is right."""
    said, known_of = found.design, row.design
    pairs = {"activation": (said.activation, known_of.activation), "images": (said.images, known_of.images)}
    differ = [f"the {key} {one}, not {other}" for key, (one, other) in pairs.items() if one != other]
    if not differ:
        return found._replace(dialect=row.dialect)
    warnings.warn(
        f"{found.said_by} has {' and '.join(differ)}, with which {row.name} was trained: the latter is used",
        stacklevel=2,
    )
    design = said._replace(activation=known_of.activation, images=known_of.images)
    return Resolved(design, _TABLE, row.dialect)


def _by_options(source: Source) -> Resolved:
    asked, weights = source.asked, source.weights
    if asked.activation and asked.heads:
        design = Design(asked.activation, asked.heads, Images(stated=False))
        return Resolved(design, "MODEL.BACKBONE.ACTIVATION and HEADS", "bare")
    if asked.activation or asked.heads:
        given, lacking = ("ACTIVATION", "HEADS") if asked.activation else ("HEADS", "ACTIVATION")
        raise UserError(f"{weights}: MODEL.BACKBONE.{given} is given, but MODEL.BACKBONE.{lacking} is missing")
    there = _configs_beside(source)
    if there:
        raise UserError(
            f"{weights} does not say how it is run: {there[0]} in its folder is the other package's; {_HOW_TO_SAY}"
        )
    if weights is not None and any(row.file == weights.name for row in known.rows() if row.sha256):
        raise UserError(
            f"{weights} has the name of OpenAI's weights, but its SHA-256 is not theirs, and does not say how it is "
            f"run: {_HOW_TO_SAY}"
        )
    if weights is not None and not _may_be_weights(weights):
        raise UserError(
            f"{weights} is not a file of weights: it begins as none of torch.save, TorchScript, safetensors"
        )
    raise UserError(f"{weights} does not say how it is run: {_HOW_TO_SAY}")


def _may_be_weights(path: Path) -> bool:
    """Whether a file begins as torch.save's archive or pickle, or as safetensors; JSON is refused later."""
    with open_regular(path) as file:
        head = file.read(9)
    return path.suffix == ".json" or head.startswith((b"PK\3\4", b"\x80")) or head[8:] == b"{"


def _require_same(asked: Asked, design: Design, said_by: str) -> None:
    """Raise UserError if options contradict what is known."""
    pairs: Mapping[str, tuple[Any, Any]] = {
        "ACTIVATION": (asked.activation, design.activation),
        "HEADS": (tuple(asked.heads), tuple(design.heads)),
    }
    for key, (option, value) in pairs.items():
        if option and option != value:
            raise UserError(f"MODEL.BACKBONE.{key} is {option}, but by {said_by} it is {value}")
