"""Loading a CLIP with a side of another package: config, tensors and tokenizer come together here."""

from typing import cast

from modprompt.clip import tower_build, tower_source, tower_transformers
from modprompt.clip.facts import fingerprint, note
from modprompt.clip.key_mapping import TRANSFORMERS
from modprompt.clip.known import OPEN_CLIP
from modprompt.clip.reading import read_file
from modprompt.clip.resolve_config import Resolved
from modprompt.clip.source import Source
from modprompt.clip.structure import CLIP
from modprompt.clip.tower_source import Config
from modprompt.clip.transformers_config import TransformersConfig


def load(found: Source, config: Config) -> CLIP:
    """The CLIP of a source, float32 and in eval mode.

    Args:
        found: the source.
        config: from tower_source.config_of.

    Raises:
        UserError: if a package is missing or too old, a file is missing, or weights, config and tokenizer do not
            belong together.
    """
    assert found.weights is not None  # the embedded model has no tower
    where = found.called
    if isinstance(config, TransformersConfig):
        tokenizer = tower_source.transformers_tokenizer(found, config)
        model = tower_transformers.build(config, read_file(found.weights), tokenizer, where)
        dialect = TRANSFORMERS
    else:
        text = tower_source.text_folder(found, config)
        tokenizer = tower_source.tokenizer(found, config, text)
        model = tower_build.build(config, read_file(found.weights), tokenizer, where, text)
        dialect = OPEN_CLIP
    tower_source.tell_weights(found)
    clip_model = cast(CLIP, model)
    clip_model.fingerprint = fingerprint(model.state_dict(), clip_model)
    note(clip_model, found, Resolved(config.design, "its config", dialect))
    return clip_model
