"""The facts of a run that decide its numbers: what must be the same to resume the run, and to load its checkpoints."""

from typing import Any

from modprompt.data.reader_facts import reader_facts
from modprompt.data.selection import selected_on
from modprompt.fields import as_config
from modprompt.io.images import images_hash
from modprompt.io.result import TEST
from modprompt.io.same_run import CLIP, of_sources
from modprompt.methods.records import content_hashes, searched_by, settings_beside, sources_of
from modprompt.methods.records import method_record as record_of
from modprompt.trainers import training_state


def facts_of_run(trainer: Any) -> dict[str, str]:
    """Return the facts that must be the same to resume a run, as {name: text}.

    They are the settings, the contents of the files that the settings name, CLIP, the training images, and the source
    of a custom method.
    """
    method, cfg = trainer.method, trainer.cfg
    rounded = trainer.precision.half_weights or trainer.keeps_in_half
    return {
        **training_state.of_trainer(training_state.settings_of(cfg), trainer.node_name),
        CLIP: trainer.fingerprint,
        **trainer.tokenizer_facts,
        **({} if rounded else {"the precision of CLIP's weights": "float32"}),
        training_state.TRAINING_IMAGES: trainer.images_hash,
        **content_hashes(method),
        **of_sources(sources_of(method)),
        **trainer.model.prompt_learner.stands_on(),
        **_images_for_selection(trainer),
    }


def _images_for_selection(trainer: Any) -> dict[str, str]:
    """Return a hash of the images that select an epoch or train a search, unless they are the test images."""
    dataset = trainer.dm.dataset
    kind = selected_on(dataset, trainer.cfg)
    if kind in ("", TEST) or not (trainer.best_on or trainer.search):
        return {}
    return {training_state.CHOSEN_BY: f"{kind} {images_hash(dataset.val, root=reader_facts(dataset).image_root)}"}


def text_chunk(trainer: Any) -> int | None:
    """Return how many text tokens are encoded at a time, which changes rounding; None if all are.

    Without MODEL.TEXT_CHUNK, free memory decides this at each start.
    """
    model, batches = trainer.model, trainer.cfg.DATALOADER
    # prompts that depend on the image are different for each image of a batch
    per_image = model.prompt_learner.needs_image
    images = max(batches.TRAIN_X.BATCH_SIZE, batches.TEST.BATCH_SIZE) if per_image else 1
    most, tokens = model.text_encoder.most_tokens, model.own_tokens * images
    return None if most is None or most >= tokens else most


def made_with(trainer: Any) -> dict[str, str]:
    """Return the facts that must be the same to load a checkpoint of this run: method, settings and CLIP."""
    method, node_name = trainer.method, trainer.node_name
    not_compared = ("PREC", *(setting.key for setting in method.settings() if not setting.compared))
    node = {key: str(value) for key, value in trainer.node.items() if key not in not_compared}
    facts = {f"TRAINER.{node_name}.{key}": value for key, value in node.items()}
    facts.update({"the method": method.learner_of or node_name, CLIP: trainer.fingerprint, **trainer.tokenizer_facts})
    return {**facts, **settings_beside(method), **searched_by(method), **content_hashes(method)}


def method_record(trainer: Any) -> dict[str, Any]:
    """Return the record of the method in files, with the settings of its configuration node.

    The node may contain settings of another codebase. A method that trains nothing has no node.
    """
    record: dict[str, Any] = record_of(trainer.method)
    if not trainer.node_name:
        return record
    return {**record, "config": {key: as_config(value) for key, value in trainer.node.items() if key != "PREC"}}
