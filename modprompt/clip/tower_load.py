"""A CLIP with a side of another package, from its source: config, tensors and tokenizer come together here."""

from typing import Any, Dict, cast

from modprompt.clip import tower_build, tower_config, tower_packages
from modprompt.clip.design import QUICK_GELU
from modprompt.clip.facts import fingerprint, note
from modprompt.clip.infer_shape import POSITIONS
from modprompt.clip.known import OPEN_CLIP, Row
from modprompt.clip.reading import read_file
from modprompt.clip.resolve_config import Resolved
from modprompt.clip.source import Source
from modprompt.clip.structure import CLIP
from modprompt.clip.tokenizers import ClipTokenizer, Tokenizer
from modprompt.clip.tower_config import TowerConfig
from modprompt.errors import UserError


def is_needed(found: Source) -> bool:
    """Whether a source has a side that is not of the stock shape."""
    return found.row is not None and found.row.has_tower


def load(found: Source) -> CLIP:
    """The CLIP of a source, float32 and in eval mode.

    Raises:
        UserError: if a package is lacking or too old, or weights, config and tokenizer do not belong to each other.
    """
    assert found.row is not None
    assert found.weights is not None
    config = config_of(found.row)
    tokenizer = _tokenizer(config)
    model = tower_build.build(config, read_file(found.weights), tokenizer, found.called)
    clip_model = cast(CLIP, model)
    clip_model.fingerprint = fingerprint(model.state_dict(), clip_model)
    note(clip_model, found, Resolved(config.design, "open_clip", OPEN_CLIP))
    return clip_model


def config_of(row: Row) -> TowerConfig:
    """The config of a row, as the installed open_clip has it; the activation and the images are those of its tag.

    Raises:
        UserError: if open_clip is lacking, or does not know the model.
    """
    model = tower_packages.open_clip().get_model_config(row.model)
    if model is None:
        raise UserError(f"the open_clip that is installed does not know {row.model}")
    model["quick_gelu"] = row.design.activation == QUICK_GELU
    return tower_config.read(model, row.design.images, row.name)


def _tokenizer(config: TowerConfig) -> Tokenizer:
    text: Dict[str, Any] = config.model["text_cfg"]
    return ClipTokenizer(int(text.get("context_length", POSITIONS)))
