"""The files that a run writes next to result.json, and their entries in that file."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from modprompt.errors import UserError
from modprompt.io import base_new, run_files
from modprompt.io import result as results
from modprompt.io.files import copy_whole, sha256_of
from modprompt.trainers import kept_features
from modprompt.trainers.prompt_trainer import PromptTrainer
from modprompt.trainers.test_predictions import Answers, ece_pct

if TYPE_CHECKING:
    import numpy as np


def of_test(answers: Answers, trainer: Any, folder: str, tested: Sequence[Any]) -> dict[str, Any]:
    """Write the files of a test to the output folder; files of an earlier test are replaced.

    Args:
        answers: the predictions for each image.
        trainer: whose test it was.
        folder: the run's output folder.
        tested: the images, in the order of the data set.

    Returns:
        The result's `top5_pct`, `ece_pct`, accuracies of halves and hashes of files, those that could be made.
    """
    run_files.remove_test(folder)
    names = list(trainer.dm.dataset.classnames)
    why = answers.why_not or (
        "" if answers.classes == len(names) else "the number of logits per image differs from the number of class names"
    )
    if why:
        print(f"Top-5 accuracy, calibration error and the folder {run_files.TEST}/ are not written because {why}.")
        return {}
    parts, notes = answers.parts(names, trainer.dm.dataset, tested)
    for what, note in notes.items():
        print(f"The {what} of the test is not written because {note}.")
    error = ece_pct(parts.calibration)
    return {
        "top5_pct": answers.top_pct(),
        **({} if error is None else {"ece_pct": error}),
        **_halves(trainer, parts.confusion),
        run_files.TEST_KEY: {**run_files.write_test(folder, parts), **_features(answers, trainer, folder, tested)},
    }


def _features(answers: Answers, trainer: Any, folder: str, tested: Sequence[Any]) -> dict[str, str]:
    """Store the image features if TEST.KEEP_FEATURES is set, and return their hash, or {} if nothing is stored."""
    if not trainer.cfg.TEST.KEEP_FEATURES:
        return {}
    features = trainer.tested_features if isinstance(trainer, PromptTrainer) else None
    if features is None or not answers.are_of(tested) or len(features) != len(tested):
        print(
            "The image features of the test images are not stored, because the test computed no image features, or "
            "read the images in a different order than the data set."
        )
        return {}
    made = kept_features.made_by(trainer, trainer.tested_loader)
    return kept_features.write(folder, features, made, tested, *answers.labels_and_predictions())


def _halves(trainer: Any, confusion: "np.ndarray") -> dict[str, Any]:
    """Return the accuracies on images of base and new classes, among all classes or among the classes of each half."""
    apart = isinstance(trainer, PromptTrainer) and trainer.halves_apart
    if not (trainer.cfg.TEST.BASE_NEW or apart):
        return {}
    found = base_new.of_confusion(confusion)
    if found is None:
        print(
            "The accuracies of base and new classes are not reported because either the base classes or the new "
            "classes have no test images."
        )
    if found is not None and apart:
        halves = ", ".join(f"{name} {found[name]['accuracy_pct']:.2f}%" for name in base_new.NAMES)
        print(
            f"Accuracy when predictions are restricted to the base classes or to the new classes: {halves}, H "
            f"{found['h_pct']:.2f}%"
        )
    return {} if found is None else {base_new.APART if apart else base_new.KEY: found}


def of_training(folder: str) -> dict[str, str]:
    """Return the hash of the table of training steps, or {} if the table is missing or damaged."""
    try:
        there = run_files.read_steps(folder) is not None
    except UserError as error:
        print(f"The entry {run_files.STEPS_KEY} of result.json could not be written: {error}")
        return {}
    return {run_files.STEPS_KEY: sha256_of(run_files.path_of_steps(folder))} if there else {}


def of_another(source: str, folder: str) -> dict[str, Any]:
    """Copy the files of another run into a folder, where they replace files of the same names.

    Args:
        source: the folder of the other run.
        folder: the folder of this run.

    Returns:
        The entries of the files in result.json.
    """
    run_files.remove_test(folder)
    result = results.read(source).result or {}
    names = list(result.get(run_files.TEST_KEY) or ())
    for name in names:
        copy_whole(run_files.path_of_test(source, name), run_files.path_of_test(folder, name))
    if os.path.isfile(run_files.path_of_steps(source)):
        copy_whole(run_files.path_of_steps(source), run_files.path_of_steps(folder))
    said = {key: result[key] for key in ("top5_pct", "ece_pct", run_files.TEST_KEY) if key in result}
    return {**said, **of_training(folder)}
