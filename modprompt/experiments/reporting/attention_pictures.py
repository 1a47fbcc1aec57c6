"""What methods look at, as pictures for a report's page: attention over the patches of a few test images."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

from modprompt.errors import UserError
from modprompt.experiments.plan.experiment import CROSS, Experiment
from modprompt.experiments.reporting.mistakes import Images, Mistake, data_address, worst
from modprompt.experiments.reporting.results import Line, Results
from modprompt.experiments.reporting.views import Diagnostics
from modprompt.io.image_files import read_rgb
from modprompt.io.text import one_line
from modprompt.use.attention import as_seen, attention_of, overlay
from modprompt.use.trained import Trained, open_trained

_SIDE = 192  # pixels of a picture


def of_report(
    experiment: Experiment, results: Results, left: Diagnostics, images: Images, most: int, faults: list[str]
) -> dict[str, list[Mistake]]:
    """Pictures by data set: each image, and for each method what its class token and its prompts look at.

    Args:
        experiment: what was run.
        results: its results.
        left: what tests recorded: images that the first method there misclassified are shown.
        images: where they are.
        most: images of a data set.
        faults: gets a message for what cannot be shown.
    """
    found: dict[str, list[Mistake]] = {}
    for dataset in results.datasets:
        chosen = _chosen(dataset, left, images, most)
        if not chosen:
            faults.append(f"no attention on {dataset}: no test recorded a misclassified image below the data folder")
            continue
        trained_on = experiment.source if experiment.protocol in CROSS else dataset
        pictures: list[Mistake] = []
        for line in results.lines:
            folder = folder_of_training(results, line, trained_on)
            if folder is None:
                continue
            print(f"attention of {one_line(line.label)} on {dataset} ...", file=sys.stderr)
            try:
                pictures += _pictures(line.label, open_trained(folder), chosen, first=not pictures)
            except (UserError, OSError) as error:
                faults.append(f"no attention of {line.label} on {dataset}: {one_line(str(error))}")
        if pictures:
            found[dataset] = pictures
    return found


def _chosen(dataset: str, left: Diagnostics, images: Images, most: int) -> list[tuple[Path, str]]:
    """Images and their classes."""
    tests = [next(iter(one.values())) for (name, _), one in left.tests.items() if name == dataset and one]
    places = [(images.find(dataset, one.result, wrong.image), one.names[wrong.label]) for one, wrong in worst(tests)]
    return [(path, name) for path, name in places if path is not None][:most]


def folder_of_training(results: Results, line: Line, dataset: str) -> Path | None:
    """The folder of a method's training, of its first seed that has a result; of zero-shot CLIP that of its test."""
    columns = [column for column in results.columns if results.is_asked(line, column)]
    outcomes = results.outcomes(line, dataset, columns[0]).values() if columns else ()
    return next((one.folder for one in outcomes if one.result is not None and one.folder), None)


def _pictures(label: str, trained: Trained, chosen: list[tuple[Path, str]], first: bool) -> list[Mistake]:
    batch = torch.stack([trained.preprocess(read_rgb(path, trained.read_as)) for path, _ in chosen])
    seen = attention_of(trained.model, batch)
    with_prompts = [layer for layer, prompts in enumerate(seen.prompts) if len(prompts)]
    pictures = []
    for number, (_, name) in enumerate(chosen):
        picture = as_seen(trained.model, batch[number])
        shown: dict[str, Any] = {name: picture.copy()} if first else {}
        if seen.class_token is not None:
            shown[f"{label}: class token, layer {len(seen.class_token) - 1} (from 0)"] = overlay(
                picture, seen.class_token[-1, number]
            )
        if with_prompts:
            layer = with_prompts[-1]
            mean = seen.prompts[layer][:, number].mean(dim=0)
            shown[f"{label}: mean of its prompts, layer {layer} (from 0)"] = overlay(picture, mean)
        pictures += [
            Mistake(data_address(one, _SIDE), f"{text} ({name})" if text != name else name)
            for text, one in shown.items()
        ]
    return pictures
