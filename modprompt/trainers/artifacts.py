"""What a run leaves beside its result, and what result.json says of it; what is left out is told in a line."""

import os
from typing import TYPE_CHECKING, Any, Dict, Sequence

from modprompt.errors import UserError
from modprompt.io import base_new, steps, test_parts
from modprompt.io import result as results
from modprompt.io.atomic import copy_whole
from modprompt.io.text import sha256_of
from modprompt.trainers import kept_features
from modprompt.trainers.test_predictions import Answers, ece_pct

if TYPE_CHECKING:
    import numpy as np


def of_test(answers: Answers, trainer: Any, folder: str, tested: Sequence[Any]) -> Dict[str, Any]:
    """Write the files of a test in place of those of an earlier one.

    Args:
        answers: what was said of each image.
        trainer: whose test it was.
        folder: the run's output folder.
        tested: the images, in the order of the data set.

    Returns:
        The result's `top5_pct`, `ece_pct`, accuracies of halves and hashes of files, as far as they could be made.
    """
    test_parts.remove(folder)
    names = list(trainer.dm.dataset.classnames)
    why = answers.why_not or ("" if answers.classes == len(names) else "there are other classes than names")
    if why:
        print(f"Top-5, calibration and {test_parts.FOLDER}/ are left out: {why}")
        return {}
    parts, notes = answers.parts(names, trainer.dm.dataset, tested)
    for what, note in notes.items():
        print(f"The {what} of the test is left out: {note}")
    error = ece_pct(parts.calibration)
    return {
        "top5_pct": answers.top_pct(),
        **({} if error is None else {"ece_pct": error}),
        **_halves(trainer, parts.confusion),
        test_parts.KEY: {**test_parts.write(folder, parts), **_features(answers, trainer, folder, tested)},
    }


def _features(answers: Answers, trainer: Any, folder: str, tested: Sequence[Any]) -> Dict[str, str]:
    """The hash of the kept image features; nothing where none are to be kept, or can be."""
    if not trainer.cfg.TEST.KEEP_FEATURES:
        return {}
    evaluation = getattr(trainer, "evaluation", None)  # of our trainers
    features = getattr(evaluation, "features", None)
    if features is None or not answers.are_of(tested) or len(features) != len(tested):
        print("The image features of the test are not kept: it made none, or not in the images' order")
        return {}
    return kept_features.write(folder, features, kept_features.made_by(trainer, trainer.evaluation.loader), tested)


def _halves(trainer: Any, confusion: "np.ndarray") -> Dict[str, Any]:
    """The accuracies of base and new images: among all classes, where they are asked for, or apart."""
    apart = getattr(getattr(trainer, "evaluation", None), "halves_apart", False)
    if not (trainer.cfg.TEST.BASE_NEW or apart):
        return {}
    found = base_new.of_confusion(confusion)
    if found is None:
        print("The accuracies of base and new images are left out: one of the halves has no test image")
    return {} if found is None else {base_new.APART if apart else base_new.KEY: found}


def of_training(folder: str) -> Dict[str, str]:
    """The hash of the table of a training's steps; nothing where there is none, or a damaged one."""
    try:
        there = steps.read(folder) is not None
    except UserError as error:
        print(f"{steps.KEY} is left out: {error}")
        return {}
    return {steps.KEY: sha256_of(steps.path_of(folder))} if there else {}


def of_another(source: str, folder: str) -> Dict[str, Any]:
    """Put what another run has left into a folder, in place of what is there.

    Args:
        source: the other run's folder.
        folder: where it goes.

    Returns:
        What a result says of it.
    """
    test_parts.remove(folder)
    result = results.read(source).result or {}
    names = list(result.get(test_parts.KEY) or ())
    for name in names:
        copy_whole(test_parts.path_of(source, name), test_parts.path_of(folder, name))
    if os.path.isfile(steps.path_of(source)):
        copy_whole(steps.path_of(source), steps.path_of(folder))
    said = {key: result[key] for key in ("top5_pct", "ece_pct", test_parts.KEY) if key in result}
    return {**said, **of_training(folder)}
