"""The facts of a run that decide its results, collected from its trainer, and the check that another run has the same.

Training states, checkpoints and results store these facts; `modprompt.io.identity` compares them.
"""

from collections.abc import Mapping
from typing import Any

from dassl.config import cfg_default

from modprompt.data.reader_facts import reader_facts
from modprompt.data.selection import selected_on
from modprompt.errors import UserError
from modprompt.fields import as_config
from modprompt.io import identity
from modprompt.io.folder import or_delete
from modprompt.io.images import images_hash
from modprompt.io.result import TEST
from modprompt.io.settings import texts_of
from modprompt.methods import records


def settings_of_run(cfg: Any, method: Any, node_name: str) -> dict[str, str]:
    """Return the settings that influence the results of a training run, as {dotted key: text}.

    Args:
        cfg: the configuration.
        method: the method or its class, whose settings can name a second CLIP model, or None for trainers without one.
        node_name: the name of the trainer's node in cfg.TRAINER. The settings of other methods are left out.
    """
    named = {} if method is None else records.contents_named(method)
    settings = identity.decisive(identity.by_own_clip(texts_of(cfg), named))
    own = ("TRAINER.NAME", f"TRAINER.{node_name}.")
    return {key: text for key, text in settings.items() if not key.startswith("TRAINER.") or key.startswith(own)}


def default_settings() -> dict[str, str]:
    """Return the defaults of all settings that influence the results of a training run, as {dotted key: text}."""
    return identity.decisive(texts_of(cfg_default))


def contents_of_run(trainer: Any) -> dict[str, str]:
    """Return hashes of the CLIP models, files and source code that influence the results of a run, as {name: hash}."""
    method = trainer.method
    contents = {
        **trainer.clip_identity,
        **records.content_hashes(method),
        **identity.of_sources(records.sources_of(method)),
        **trainer.model.prompt_learner.stands_on(),
    }
    # a second CLIP model that the method did not record is the backbone under another name
    named = records.contents_named(method)
    settings = identity.by_own_clip(texts_of(trainer.cfg), named)
    second = {named[key] for key in named if named[key] in identity.CLIPS and settings.get(key)}
    return {**dict.fromkeys(sorted(second), trainer.fingerprint), **contents}


def facts_of_run(trainer: Any) -> dict[str, str]:
    """Return all settings and hashes that must be equal for a run to be resumed, as {name: text}.

    They are the settings, the contents of the files that the settings name, CLIP, the training images, and the source
    of a custom method.
    """
    rounded = trainer.precision.half_weights or trainer.keeps_in_half
    return {
        **settings_of_run(trainer.cfg, trainer.method, trainer.node_name),
        **contents_of_run(trainer),
        **({} if rounded else {"the precision of CLIP's weights": "float32"}),
        identity.TRAINING_IMAGES: trainer.images_hash,
        **_images_for_selection(trainer),
    }


def _images_for_selection(trainer: Any) -> dict[str, str]:
    """Return a hash of the validation images that are used to select an epoch or to search for a schedule."""
    dataset = trainer.dm.dataset
    kind = selected_on(dataset, trainer.cfg)
    if kind in ("", TEST) or not (trainer.best_on or trainer.search):
        return {}
    return {identity.CHOSEN_BY: f"{kind} {images_hash(dataset.val, root=reader_facts(dataset).image_root)}"}


def require_same(mine: Mapping[str, str], theirs: Mapping[str, str], folder: str) -> None:
    """Raise UserError, which names the differences, unless the run in a folder has the settings and files of this run.

    Args:
        mine: the facts of this run.
        theirs: the facts of the run in the folder. A setting that one of the runs lacks has its default there.
        folder: the folder, for the message.
    """
    changed = identity.differing(theirs, mine, defaults=default_settings(), whole=True)
    if changed:
        raise UserError(
            f"{folder} contains a run with other settings ({'; '.join(map(str, changed[:4]))}). "
            f"Use a different --output-dir{or_delete(folder)}."
        )


def text_chunk(trainer: Any) -> int | None:
    """Return the number of text tokens that are encoded at once, which influences rounding, or None if all are.

    Without MODEL.TEXT_CHUNK, free memory decides this at each start.
    """
    model, batches = trainer.model, trainer.cfg.DATALOADER
    # prompts that depend on the image are different for each image of a batch
    per_image = model.prompt_learner.needs_image
    images = max(batches.TRAIN_X.BATCH_SIZE, batches.TEST.BATCH_SIZE) if per_image else 1
    most, tokens = model.text_encoder.most_tokens, model.own_tokens * images
    return None if most is None or most >= tokens else most


def made_with(trainer: Any) -> dict[str, str]:
    """Return the settings and hashes that a checkpoint must share to be loaded in this run."""
    return records.made_with(trainer.method, trainer.clip_identity, method_record(trainer))


def method_record(trainer: Any) -> dict[str, Any]:
    """Return the description of the method that is stored in files, with the settings of its configuration node.

    The node may contain settings of another codebase. A method that trains nothing has no node.
    """
    record: dict[str, Any] = records.method_record(trainer.method)
    if not trainer.node_name:
        return record
    return {**record, "config": {key: as_config(value) for key, value in trainer.node.items() if key != "PREC"}}
