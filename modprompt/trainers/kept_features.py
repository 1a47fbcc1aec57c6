"""Image features that a test keeps with its other files, so that a test on more classes encodes no image again.

They are valid for a test of the same CLIP, the same prompts, and the same images made in the same way. If anything
differs, or is damaged, images are encoded anew, and a message says why. Class prompts do not matter: features are those
of the image side, also for learners whose class prompts depend on the image.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from modprompt.errors import UserError
from modprompt.io import result as results
from modprompt.io import test_parts
from modprompt.io.arrays import Rows, write_rows
from modprompt.io.safe_open import Refused
from modprompt.io.text import sha256_of
from modprompt.trainers.feature_cache import image_digests, image_side_digest, read_too, row_of, weights_digest
from modprompt.trainers.learned import prompts_hash

_ANEW = "all images are encoded anew"


def made_by(trainer: Any, loader: Any) -> str:
    """A hash of what decides image features besides the images: image side, what was learned, how images are made.

    Args:
        trainer: has a CLIP, with or without a learner.
        loader: of the images.
    """
    model = trainer.model
    learner = getattr(model, "prompt_learner", None)
    learned = [] if learner is None else [prompts_hash(learner), str(learner.schedules)]
    blends = getattr(learner, "frozen_text", None) is not None
    if getattr(learner, "changes_images", False) or blends:  # depends on its settings, too
        learned.append(f"{model.method!r} {model.method.joined_by!r}")
    if learner is not None and learner.images_by:
        learned.append(learner.images_by)
    if blends:
        learned.append(weights_digest(model.frozen_encoder.visual))
    weights = image_side_digest(trainer)
    facts = [str(trainer.run.fingerprint), weights, *learned, read_too(repr(loader.dataset.transform))]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()


def write(folder: str, features: Tensor, made: str, images: Sequence[Any]) -> dict[str, str]:
    """Write the features of a test's images.

    Args:
        folder: the run's output folder.
        features: (N, E) float32, on the CPU.
        made: the hash from made_by.
        images: the N images, in that order.

    Returns:
        SHA-256 (hex) by the file's name, for the result's `test_files`.
    """
    path = test_parts.path_of(folder, test_parts.FEATURES)
    write_rows(path, row_of(features.shape[1]), len(features), [features.numpy()], made, image_digests(images))
    return {test_parts.FEATURES: sha256_of(path)}


def of_run(folder: str, result: Mapping[str, Any], width: int, made: str | None = None) -> dict[str, np.ndarray]:
    """The features (E,) that a run's test has kept, by the image's digest (`image_digests`); empty if it kept none.

    Args:
        folder: the run's output folder.
        result: the content of its result.json, which shows that the features are that test's.
        width: E.
        made: the hash of what must have made them (`made_by`); None accepts any.

    Raises:
        UserError: if they are damaged, or were made by something else.
    """
    path = test_parts.whole(folder, result, test_parts.FEATURES)
    if path is None:
        return {}
    try:
        rows = Rows(path, row_of(width), made)
        return dict(zip(rows.names, rows.all()))
    except Refused as error:
        made_in = "of another CLIP, other prompts, or images made in another way"
        raise UserError(f"{path} is {made_in} ({error})") from None


def find(trainer: Any, loader: Any, folders: str) -> tuple[Tensor, Tensor] | None:
    """The kept features (N, E), float32, and labels (N,) of a loader's images; None, after a message, if one lacks.

    Args:
        trainer: whose model is tested.
        loader: of the images, in their order.
        folders: output folders of the tests that kept them, separated by os.pathsep.
    """
    made, images = made_by(trainer, loader), loader.dataset.data_source
    kept: dict[str, np.ndarray] = {}
    try:
        for folder in filter(None, folders.split(os.pathsep)):
            of_one = of_run(folder, results.read(folder).result or {}, trainer.run.feature_width, made)
            if not of_one:
                raise UserError(f"the test in {folder} has kept no image features (TEST.KEEP_FEATURES)")
            kept.update(of_one)
        digests = image_digests(images)
        lacking = sum(digest not in kept for digest in digests)
        if lacking:
            raise UserError(f"{lacking} of {len(images)} images are not among those kept")
    except UserError as error:
        print(f"TEST.FEATURES_OF: {error}: {_ANEW}")
        return None
    print(f"Image features of {len(images)} images, kept in {folders}")
    features = torch.from_numpy(np.stack([kept[digest] for digest in digests]))
    return features, torch.tensor([image.label for image in images])
