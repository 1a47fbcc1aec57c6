"""Which data sets are under the data root, as far as their folders and readers tell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modprompt.data.names import config_file
from modprompt.errors import UserError
from modprompt.experiments.plan.experiment import Experiment
from modprompt.io.settings import read_settings


def reader_of(dataset: str) -> Any:
    """The reader of a data set, named as in configs/datasets."""
    from modprompt.compat import find

    find.add_to_path()
    from dassl.data.datasets import DATASET_REGISTRY

    import modprompt.data.readers.all  # noqa: F401 - registers them

    return DATASET_REGISTRY.get(read_settings(str(config_file(dataset)))["DATASET.NAME"])


def place_of_images(dataset: str, data: Path) -> Path | None:
    """The folder of a data set's images; None if its reader does not say."""
    reader = reader_of(dataset)
    from modprompt.data import images  # late: by now Dassl is found

    return images.place_of_images(reader, data)


def missing(dataset: str, data: Path) -> str:
    """What a data set, named as in configs/datasets, lacks, in words; empty if it is there."""
    reader, images = reader_of(dataset), place_of_images(dataset, data)
    if getattr(reader, "makes_itself", False):
        return "" if images is None or images.is_dir() else str(reader.without_source())
    if images is None:
        return ""
    if not images.is_dir():
        return f"{images} does not exist"
    if not any(images.iterdir()):
        return f"{images} is empty"
    folder, needed = data / reader.dataset_dir, getattr(reader, "label_files", ())
    if needed and getattr(reader, "split_file", "") and (folder / reader.split_file).is_file():
        return ""
    lacking = [str(folder / name) for name in needed if not (folder / name).is_file()]
    return f"{' and '.join(lacking)} {'does' if len(lacking) == 1 else 'do'} not exist" if lacking else ""


def require_present(datasets: Sequence[str], data: Path) -> None:
    """Raise UserError, naming all data sets that are not under the data root."""
    lacking = {name: why for name in datasets if (why := missing(name, data))}
    if not lacking:
        return
    from modprompt.data.prepare.recipes import RECIPES  # late: few need it

    told = [name for name in lacking if reader_of(name).__name__ in RECIPES]
    how = f"Run `modprompt prepare {' '.join(told)} --root {data}`, or set" if told else "Set"
    raise UserError(
        f"{len(lacking)} of {len(datasets)} data sets {'is' if len(lacking) == 1 else 'are'} missing in {data}, so no "
        f"run was started. {' '.join(f'{name}: {why}.' for name, why in lacking.items())} {how} --data (or DATA) to "
        "the folder of the data sets, or use --skip-missing-data."
    )


def only_present(experiment: Experiment, data: Path) -> Experiment:
    """The experiment without the data sets that are not under the data root, which are printed.

    Raises UserError if none is there, or the source of a cross protocol is not.
    """
    if experiment.source and missing(experiment.source, data):
        raise UserError(
            f"The data set {experiment.source} is missing in {data}, and --skip-missing-data cannot skip it, because "
            "the protocol trains on this data set. Add the data set."
        )
    lacking = [name for name in experiment.datasets if missing(name, data)]
    names = tuple(name for name in experiment.datasets if name not in lacking)
    if not names:
        raise UserError(
            f"--skip-missing-data: no data set of {experiment.name} is in {data}. Set --data (or DATA) to the folder "
            "of the data sets."
        )
    if lacking:
        print(f"The following data sets are skipped, because they are missing in {data}: {', '.join(lacking)}")
    return experiment._replace(datasets=names)
