"""Whether the run of a configuration is finished already, so that scripts start nothing twice.

A finished run has the same settings, CLIP, split, few-shot list and, for a test, the same model. Nothing else counts.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any

from dassl.config import cfg_default

from modprompt.clip.facts import facts_of
from modprompt.feature import features
from modprompt.io import compare, holding
from modprompt.io import result as results
from modprompt.io.image_files import FAMILY
from modprompt.io.images import READ_AS
from modprompt.io.settings import as_text, changes
from modprompt.trainers import backbone
from modprompt.trainers.training_state import settings_of

ONCE = "MODPROMPT_ONCE"  # in the environment of scripts in other codebases: as --once here


def require_folder_agrees(cfg: Any) -> None:
    """Raise UserError if the output folder's name states other shots, seed or classes than the run has."""
    classes = cfg.DATASET.SUBSAMPLE_CLASSES
    compare.require_folder_agrees(cfg.OUTPUT_DIR, cfg.DATASET.NUM_SHOTS, cfg.SEED, classes)


def _differing_images(cfg: Any, result: Mapping[str, Any]) -> list[str]:
    """How images were made differently from now."""
    recorded = {READ_AS: FAMILY, **(result.get("input") or {})}
    return changes(recorded, {READ_AS: FAMILY, **backbone.input_texts(cfg)})


def _differing_inputs(
    cfg: Any, result: Mapping[str, Any], find: Callable[[str], str | None], split_now: Callable[[], str]
) -> list[str]:
    """Which of a result's split, few-shot list and initial weights have changed."""
    files, split = result.get("files") or {}, result.get("split") or {}
    found = compare.differing_files(files, find)
    if not found and not compare.has_split_file(files):
        recorded = split.get("hash") or result.get("images_hash")  # another project's reader
        known = not recorded or recorded == split_now()
        found = [] if known else ["the images, which have no known split file, have changed"]
    return found + compare.differing_contents(result, settings_of(cfg))


def finished_before(
    cfg: Any,
    settings: Mapping[str, str],
    tests: bool,
    find: Callable[[str], str | None],
    split_now: Callable[[], str],
    model_dir: str = "",
    epoch: int | None = None,
) -> bool:
    """Whether cfg.OUTPUT_DIR holds this very run, finished; a message says so.

    Args:
        cfg: the run's configuration.
        settings: those that files and options gave.
        tests: whether the run only tests.
        find: gives the path of a recorded split file or few-shot list.
        split_now: reads the data set and gives its split's hash, for one without a split file; the hash of all images
            if the reader does not give its split.
        model_dir: the folder of the run whose model is tested; empty if none is.
        epoch: the epoch to test; None for the best or last.

    Raises:
        UserError: if it holds another finished run, or its name states other shots, seed or classes.
    """
    require_folder_agrees(cfg)
    result, why = results.read(cfg.OUTPUT_DIR)
    if result is None:
        if why:
            print(f"{cfg.OUTPUT_DIR}: {why}: running again")
        return False
    defaults = {key: as_text(text) for key, text in settings_of(cfg_default).items()}
    if result.get("accuracy_pct") is None and result.get("untested") == results.NO_TEST and not cfg.TEST.NO_TEST:
        print(f"{cfg.OUTPUT_DIR} was not tested (TEST.NO_TEST): running again")
        return False
    recorded, wanted = (compare.without_places(one, result) for one in (result["settings"], settings))
    found = compare.differing_settings(recorded, wanted, tests, defaults)
    goes_on = next(filter(None, (one.goes_on(result, settings, found) for one in features())), "")
    if goes_on:
        print(f"{cfg.OUTPUT_DIR} {goes_on}: going on")
        return False
    found += _other_kind(cfg, result, tests, model_dir)
    found = found or _differing_images(cfg, result)
    found = found or _differing_inputs(cfg, result, find, split_now)
    mine, clip = ("", {}) if found else _clip_now(cfg)
    found = found or compare.differing_clip(str(result.get("backbone_hash") or ""), mine)
    found = found or compare.differing_tokenizer(result.get("clip") or {}, clip)
    if found:
        raise compare.another_run(cfg.OUTPUT_DIR, found)
    if model_dir and holding.of_other_weights(result, model_dir, epoch):
        print(f"{cfg.OUTPUT_DIR} has the result of another model: testing again")
        return False
    print(f"Finished before: {os.path.join(cfg.OUTPUT_DIR, results.FILE_NAME)} (delete {cfg.OUTPUT_DIR} to run again)")
    return True


def _other_kind(cfg: Any, result: Mapping[str, Any], tests: bool, model_dir: str) -> list[str]:
    """That a result is of a test, not a training, or the other way round, or of a training that began otherwise."""
    tested = holding.test_of(result)
    if tested and not tests:
        return [f"it is a test of {tested}"]
    if model_dir and not tested:
        return ["it is a training, no test"]
    return [] if tests else holding.differing_beginning(result, cfg.RESUME)


def describe_model(model_dir: str, epoch: int | None) -> str:
    """Which model a test tests, as written in result.json; empty if it loads none."""
    return f"{model_dir} epoch {epoch or 'last'}" if model_dir else ""


def _clip_now(cfg: Any) -> tuple[str, Mapping[str, Any]]:
    """The fingerprint of the run's CLIP, and what is known of it."""
    clip_model = backbone.load_clip(cfg.config)
    facts = facts_of(clip_model)
    return getattr(clip_model, "fingerprint", facts.fingerprint), facts.as_record()
