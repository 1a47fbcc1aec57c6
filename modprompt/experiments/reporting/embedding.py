"""Test images as two t-SNEs: of the features of zero-shot CLIP and of the report's own method, one seed of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from modprompt.data.class_names import distinct
from modprompt.errors import UserError
from modprompt.experiments.plan.experiment import CROSS
from modprompt.experiments.plan.inputs import test_images
from modprompt.experiments.plan.stages import PLAIN
from modprompt.experiments.reporting.measured import Measured
from modprompt.experiments.reporting.results import Line, Outcome, most_shots
from modprompt.io.image_files import read_rgb
from modprompt.io.text import one_line
from modprompt.methods.table import BY_NAME
from modprompt.use.trained import Trained, open_trained

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST = 1000  # images of a data set
_MOST_CLASSES = 10  # that are told apart by their looks
_BATCH = 50
_PERPLEXITY = 30.0
SEED = 0  # of t-SNE and of the choice of images


class Cloud(NamedTuple):
    """Images of a data set as points.

    classes: names of the C classes.
    labels: (N,) of the images.
    points: (N, 2) by whose features they are: zero-shot CLIP's, then the method's.
    wholes: how many test images and classes there are.
    """

    classes: Sequence[str]
    labels: NDArray[np.int64]
    points: Mapping[str, NDArray[np.float32]]
    wholes: tuple[int, int]


def of_report(measured: Measured, data: Path | None, faults: list[str]) -> dict[str, Cloud]:
    """The clouds by data set.

    Args:
        measured: the results.
        data: folder of the data sets; None if it is not known.
        faults: gets a message for what cannot be shown.
    """
    line = next((line for line in measured.results.lines if line.label == measured.mine), None)
    if line is None or data is None or measured.experiment.added is not None:
        why = "no finished method is highlighted" if line is None else "no folder of data sets is known"
        faults.append(f"no t-SNE: {why if measured.experiment.added is None else 'these runs have rounds'}")
        return {}
    found = {}
    for dataset in measured.results.datasets:
        try:
            found[dataset] = _cloud(measured, line, dataset, data)
        except (UserError, OSError) as error:
            faults.append(f"no t-SNE of {line.label} on {dataset}: {one_line(str(error))}")
    return found


def _cloud(measured: Measured, line: Line, dataset: str, data: Path) -> Cloud:
    experiment, results = measured.experiment, measured.results
    columns = [column for column in results.columns if results.is_asked(line, column)]
    columns = [most] if (most := most_shots(columns)) else columns  # in few-shot each column has its own model
    seed, trained_on = line.seeds[0], experiment.source if experiment.protocol in CROSS else dataset
    training = results.outcomes(line, trained_on, columns[0]).get(seed) if columns else None
    if training is None or training.result is None or training.folder is None:
        raise UserError(f"its training of seed {seed} is not finished")
    trained = open_trained(training.folder)
    if not trained.model.prompts_images:
        raise UserError("it does not change CLIP's image features")
    tests = [results.outcomes(line, dataset, column).get(seed) for column in columns]
    done = [one for one in tests if one is not None and one.result is not None]
    if not done or done[0].result is None:
        raise UserError("no test of it is finished")
    images = test_images(dataset, done[0].result.get("settings") or {}, data)
    shown = chosen([image.label for image in images])
    kept = [images[number] for number in shown]
    classes = {image.label: image.classname for image in kept}
    numbers = {label: number for number, label in enumerate(sorted(classes))}
    zero_shot = BY_NAME[PLAIN].method().on(trained.model.clip_model, list(trained.model.classes.names)).eval()
    plain = trained._replace(model=zero_shot)
    features = {
        "zero-shot CLIP": encoded(plain, kept, f"{dataset}, zero-shot CLIP"),
        f"{line.label}, seed {seed}": _of_tests(done, trained, kept, f"{dataset}, {line.label}"),
    }
    return Cloud(
        distinct([classes[label] for label in numbers]),
        np.array([numbers[image.label] for image in kept]),
        {name: embedded(values) for name, values in features.items()},
        (len(images), len({image.label for image in images})),
    )


def chosen(labels: Sequence[int]) -> list[int]:
    """Which images are shown, in their order: of up to ten classes, evenly spread over all, at most a thousand."""
    classes = sorted(set(labels))
    steps = np.linspace(0, len(classes) - 1, min(len(classes), _MOST_CLASSES)).round().astype(int)
    kept = {classes[step] for step in steps}
    of_classes = [number for number, label in enumerate(labels) if label in kept]
    drawn = np.random.default_rng(SEED).permutation(len(of_classes))[:MOST]
    return [of_classes[place] for place in sorted(drawn)]


def _of_tests(tests: Sequence[Outcome], trained: Trained, images: Sequence[Any], what: str) -> NDArray[np.float32]:
    """Features (N, E) that tests have kept of these images; without them the images are encoded."""
    from modprompt.trainers.kept_features import image_digests, of_run  # late: by now Dassl is found

    known: dict[str, NDArray[np.float32]] = {}
    for one in tests:
        if one.folder is not None:
            known.update(of_run(str(one.folder), one.result or {}, trained.model.feature_width))
    digests = image_digests(images)
    if all(digest in known for digest in digests):
        return np.stack([known[digest] for digest in digests])
    return encoded(trained, images, what)


def encoded(trained: Trained, images: Sequence[Any], what: str) -> NDArray[np.float32]:
    """Image features (N, E) of a model, with a progress bar.

    Args:
        trained: the model, with its preprocessing.
        images: each with `impath`.
        what: the name of the bar.
    """
    found, device = [], trained.model.logit_scale.device
    for first in tqdm(range(0, len(images), _BATCH), desc=f"encoding {what}", disable=None):
        paths = [image.impath for image in images[first : first + _BATCH]]
        batch = torch.stack([trained.preprocess(read_rgb(path, trained.read_as)) for path in paths])
        with torch.no_grad():
            found.append(trained.model.encode_image(batch.to(device)).float().cpu().numpy())
    return np.concatenate(found)


def embedded(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Features (N, E), scaled to length 1, as points (N, 2) by t-SNE, which starts at their principal components.

    Raises:
        UserError: for fewer than four images.
    """
    from sklearn.manifold import TSNE  # late: it takes a second

    if len(features) < 4:
        raise UserError(f"{len(features)} test images are too few")
    perplexity = min(_PERPLEXITY, (len(features) - 1) / 3)
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    points: NDArray[np.float32] = TSNE(init="pca", perplexity=perplexity, random_state=SEED).fit_transform(unit)
    return points
