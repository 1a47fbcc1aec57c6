"""The option --once: whether the requested run is already finished, so that scripts do not start runs twice."""

import os
from collections.abc import Callable, Mapping
from typing import Any

from modprompt.clip import load as clip_load
from modprompt.data.reader_facts import images_hash_of, reader_facts
from modprompt.data.rounds import has_more_rounds
from modprompt.data.selection import lists_of
from modprompt.errors import UserError
from modprompt.io import folder as run_folder
from modprompt.io import identity
from modprompt.io import result as results
from modprompt.io.images import IMAGE_FILES, differing_images
from modprompt.io.settings import as_text, texts_of
from modprompt.methods import named_files
from modprompt.trainers import backbone
from modprompt.trainers.run_facts import default_settings


def _looks(
    cfg: Any, result: Mapping[str, Any], find: Callable[[str], str | None], dataset_now: Callable[[], Any]
) -> dict[str, identity.Look]:
    """Return functions that check whether the files that a result depends on have changed."""
    files = {f"files/{name}": named_files.look_at_file(name, find) for name in result.get("files") or {}}
    images = {identity.IMAGES: lambda _: _image_differences(cfg, result, dataset_now)}
    return {**files, **named_files.looks(result, texts_of(cfg), clip_load.identity), **images}


def _image_differences(cfg: Any, result: Mapping[str, Any], dataset_now: Callable[[], Any]) -> str:
    """Return a message on changed images or a changed split, or "" if nothing has changed."""
    dataset = dataset_now()
    if not results.has_split_file(result):
        recorded = (result.get("split") or {}).get("hash")
        now = split_hash(dataset, cfg) if recorded else images_hash_of(dataset, cfg)
        recorded = recorded or result.get("images_hash")
        if recorded and recorded != now:
            return "the images have changed (the data set has no recorded split file)"
    root = reader_facts(dataset).image_root
    return "; ".join(differing_images(result.get(IMAGE_FILES) or {}, lists_of(dataset, cfg), root))


def split_hash(dataset: Any, cfg: Any) -> str:
    """Return the hash of the split of a data set, or the hash of its images if the split has no hash."""
    return reader_facts(dataset).split_facts.get("hash", "") or images_hash_of(dataset, cfg)


def finished_before(
    cfg: Any,
    settings: Mapping[str, str],
    tests: bool,
    find: Callable[[str], str | None],
    dataset_now: Callable[[], Any],
    model_dir: str = "",
    epoch: int | None = None,
) -> bool:
    """Return True, and print a message, if cfg.OUTPUT_DIR contains the requested run and the run is finished.

    Args:
        cfg: the configuration of the requested run.
        settings: the explicit settings as strings, by dotted key.
        tests: whether the run only tests.
        find: returns the path of a recorded split file or few-shot list.
        dataset_now: reads the data set.
        model_dir: the folder of the run whose model is tested; empty if no saved model is tested.
        epoch: the epoch to test, or None for the best or last.

    Raises:
        UserError: if the folder contains another finished run, or a run whose training images changed during the
            training, or if the name of the folder contradicts the shots, seed or classes of the run.
    """
    classes = cfg.DATASET.SUBSAMPLE_CLASSES
    run_folder.require_name_agrees(cfg.OUTPUT_DIR, cfg.DATASET.NUM_SHOTS, cfg.SEED, classes)
    result, why = results.read(cfg.OUTPUT_DIR)
    if result is None:
        if why:
            print(f"The run in {cfg.OUTPUT_DIR} is restarted because {why}.")
        return False
    if results.IMAGES_CHANGED in result:
        raise UserError(
            f"{cfg.OUTPUT_DIR} contains a finished run that cannot be reproduced: {results.CHANGED_DURING}. Use "
            f"a different --output-dir{run_folder.or_delete(cfg.OUTPUT_DIR, 'to run again')}."
        )
    defaults = {key: as_text(text) for key, text in default_settings().items()}
    if result.get("accuracy_pct") is None and result.get("untested") == results.NO_TEST and not cfg.TEST.NO_TEST:
        print(f"The run in {cfg.OUTPUT_DIR} is restarted, because the previous run was not tested (TEST.NO_TEST True).")
        return False
    if lacking := results.lacks_unknown(result, cfg.TEST.OOD):
        print(f"The test in {cfg.OUTPUT_DIR} is repeated, because the model was {lacking}.")
        return False
    then, wanted = identity.facts(result), identity.wanted(settings, result)
    found = identity.differences(then, wanted, defaults=defaults, tests=tests)
    if has_more_rounds(settings, result, found):
        print(f"The finished run in {cfg.OUTPUT_DIR} is continued, because ACTIVE.ROUNDS requests more rounds.")
        return False
    found += _other_kind(cfg, result, tests, model_dir)
    if not found:
        wanted.update(identity.of_images(backbone.input_texts(cfg)))
        looks = _looks(cfg, result, find, dataset_now)
        found = identity.differences(then, wanted, looks, defaults=defaults, tests=tests)
    if found:
        raise _another_run(cfg.OUTPUT_DIR, found)
    if model_dir and identity.of_other_weights(result, lambda: run_folder.weights_hash(model_dir, epoch)):
        print(f"The test in {cfg.OUTPUT_DIR} runs again, because the stored result was computed with another model.")
        return False
    again = f" (to run again, delete {cfg.OUTPUT_DIR})" if run_folder.or_delete(cfg.OUTPUT_DIR) else ""
    print(f"This run is already finished: {os.path.join(cfg.OUTPUT_DIR, results.FILE_NAME)}{again}")
    return True


def _another_run(folder: str, found: list[str], most: int = 4) -> UserError:
    """Return the error for a finished run that differs from the requested run; `found` are the differences."""
    more = f" and {len(found) - most} more differences" if len(found) > most else ""
    return UserError(
        f"{folder} contains a different finished run ({'; '.join(found[:most])}{more}). "
        f"Use another output folder{run_folder.or_delete(folder, 'to run again')}."
    )


def _other_kind(cfg: Any, result: Mapping[str, Any], tests: bool, model_dir: str) -> list[str]:
    """Return a list with one message if a training run is requested but the result is that of a test, or the reverse.

    Trainings that began from different checkpoints differ, too.
    """
    tested = run_folder.test_of(result)
    if tested and not tests:
        return [f"the finished run is a test of {tested}"]
    if model_dir and not tested:
        return ["the finished run is a training, not a test"]
    began_from = result.get(identity.BEGAN_FROM)
    return [] if tests else identity.differing_beginning(began_from, run_folder.resumed_from(cfg.RESUME), cfg.RESUME)
