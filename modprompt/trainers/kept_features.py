"""Image features that a test stores, so that later tests on other classes need not encode the images again.

They can be used by tests with the same CLIP model, the same prompts of the image encoder, and the same images and
preprocessing. If anything differs or a file is damaged, the images are encoded again, and a message says why.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from modprompt.clip.facts import shape_of_side
from modprompt.clip.towers import Tower
from modprompt.engine.precision import autocast_type
from modprompt.errors import UserError
from modprompt.io import identity, run_files
from modprompt.io import result as results
from modprompt.io.arrays import read_arrays, write_arrays
from modprompt.io.files import sha256_of
from modprompt.io.images import file_hashes, file_stamps
from modprompt.trainers.learned import prompts_hash


def how_computed(device: torch.device, stream: torch.dtype | None) -> str:
    """Return a string on the device and the number formats of the computation, which influence features."""
    facts = ("" if device.type == "cpu" else device.type, stream, autocast_type(device))
    return " ".join(str(fact) for fact in facts if fact)


def _describe_encoder(visual: nn.Module) -> str:
    """Return a string on activations, attention heads and dtypes of an image encoder, which its weights do not show."""
    activations, heads = shape_of_side(visual)
    types = [(name, str(tensor.dtype)) for name, tensor in sorted(visual.state_dict().items())]
    return f"{sorted(activations)} {heads} {types}"


def _stamp_digests(images: Sequence[Any]) -> list[str]:
    """Return 16 hex digits for each image's path, size, times and inode."""
    texts = (f"{image.impath} {file_stamps(image.impath)[1]}" for image in images)
    return [hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16] for text in texts]


def made_by(trainer: Any, loader: Any) -> str:
    """Return a hash of the CLIP model, the learner and the preprocessing with which image features are computed.

    The hash covers the CLIP model by its fingerprint, the learned parameters, and the preprocessing of the images.

    Args:
        trainer: the trainer of a CLIP model, with or without a learner.
        loader: the loader of the images.
    """
    model, visual = trainer.model, trainer.clip_model.visual
    facts = [trainer.fingerprint, _describe_encoder(visual), how_computed(trainer.device, model.stream)]
    if isinstance(visual, Tower):  # its weights do not show how they are used
        facts += [visual.products, trainer.clip_identity.get(identity.TOKENIZER, "")]
    learner = getattr(model, "prompt_learner", None)
    if learner is not None:
        facts += [prompts_hash(learner), learner.schedules, learner.images_by]
    blends = getattr(learner, "frozen_text", None) is not None
    if getattr(learner, "changes_images", False) or blends:  # the features depend on the settings, too
        facts += [repr(model.method), repr(model.method.joined_by)]
    if blends:
        teacher = getattr(learner, "teacher_fingerprint", "")  # "" if the frozen encoder is that of the same CLIP
        facts += [teacher, _describe_encoder(model.frozen_encoder.visual)]
    facts += [repr(loader.dataset.transform), trainer.cfg.INPUT.DECODING]
    return hashlib.sha256("\n".join(map(str, facts)).encode()).hexdigest()


def write(
    folder: str, features: Tensor, made: str, images: Sequence[Any], labels: np.ndarray, predicted: np.ndarray
) -> dict[str, str]:
    """Write the features of a test's images.

    Args:
        folder: the run's output folder.
        features: (N, E) float32, on the CPU.
        made: the hash from made_by.
        images: the N images, in that order.
        labels: (N,) labels of the images.
        predicted: (N,) most probable classes of the images.

    Returns:
        SHA-256 (hex) by the file's name, for the result's `test_files`.
    """
    path = run_files.path_of_test(folder, run_files.FEATURES)
    stamps = np.array(_stamp_digests(images), np.str_)
    contents = np.array(file_hashes([image.impath for image in images]), np.str_)
    write_arrays(
        path,
        features=features.numpy(),
        images=stamps,
        contents=contents,
        made_by=np.array(made),
        labels=labels,
        predicted=predicted,
    )
    return {run_files.FEATURES: sha256_of(path)}


def of_run(folder: str, result: Mapping[str, Any], width: int, made: str = "") -> dict[str, np.ndarray]:
    """Return the features (E,) that the test of a run stored, by digests of the file stamps and by SHA-256.

    Without stored features it is empty.

    Args:
        folder: the run's output folder.
        result: the content of its result.json, which shows that the features are that test's.
        width: E.
        made: the hash of what must have made them (`made_by`); empty accepts any.

    Raises:
        UserError: if they are damaged, or were made by something else.
    """
    path = run_files.whole_of_test(folder, result, run_files.FEATURES)
    if path is None:
        return {}
    features, stamps, contents, by = read_arrays(path, "features", "images", "contents", "made_by").values()
    fits = features.dtype == np.float32 and features.shape == (stamps.size, width) and stamps.size == contents.size
    if not fits or (made and str(by) != made):
        raise UserError(
            f"the features in {path} were computed with a different CLIP model, different prompts or different image "
            "preprocessing"
        )
    return {**dict(zip(contents.tolist(), features)), **dict(zip(stamps.tolist(), features))}


def find(trainer: Any, loader: Any, folders: str) -> tuple[Tensor, Tensor] | None:
    """Return the stored features (N, E), float32, and labels (N,) of images; None and a message if any are missing.

    Args:
        trainer: the trainer whose model is tested.
        loader: the loader of the images, in a fixed order.
        folders: the output folders of the tests that stored features, separated by os.pathsep.
    """
    made, images = made_by(trainer, loader), loader.dataset.data_source
    kept: dict[str, np.ndarray] = {}
    try:
        for folder in filter(None, folders.split(os.pathsep)):
            of_one = of_run(folder, results.read(folder).result or {}, trainer.feature_width, made)
            if not of_one:
                raise UserError(f"the test in {folder} stored no image features (TEST.KEEP_FEATURES True stores them)")
            kept.update(of_one)
        digests = _stamp_digests(images)
        changed = [place for place, digest in enumerate(digests) if digest not in kept]
        for place, content in zip(changed, file_hashes([images[place].impath for place in changed])):
            digests[place] = content
        lacking = sum(digest not in kept for digest in digests)
        if lacking:
            raise UserError(f"there are no stored features for {lacking} of the {len(images)} test images")
    except UserError as error:
        print(
            f"TEST.FEATURES_OF {folders} is not used, and all images are encoded again. Reason: "
            f"{str(error).rstrip('.')}."
        )
        return None
    print(f"Using the stored features of {len(images)} images from {folders}")
    features = torch.from_numpy(np.stack([kept[digest] for digest in digests]))
    return features, torch.tensor([image.label for image in images])
