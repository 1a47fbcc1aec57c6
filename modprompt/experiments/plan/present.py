"""Which data sets lie under the data root."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modprompt.data.names import config_file
from modprompt.errors import UserError
from modprompt.experiments.plan.experiment import Experiment
from modprompt.runs.settings import read_settings


def _reader_of(dataset: str) -> Any:
    from modprompt.compat import find as compat

    compat.add_to_path()
    from dassl.data.datasets import DATASET_REGISTRY

    import modprompt.data.readers.all  # noqa: F401 - registers them
    from modprompt.data.own_images import lies_in

    return DATASET_REGISTRY.get(read_settings(str(config_file(dataset)))["DATASET.NAME"])


def is_present(dataset: str, data: Path) -> bool:
    """Whether the images of a data set, named as in configs/datasets, are there or are written at first use."""
    reader = _reader_of(dataset)
    if getattr(reader, "makes_itself", False):
        return True
    return lies_in(reader, data)


def split_hash_now(dataset: str, data: Path) -> str | None:
    """The hash of the split that a data set's folders make; empty if they make none, None where nobody can tell."""
    read: Any = getattr(_reader_of(dataset), "split_hash_now", None)
    try:
        return None if read is None else str(read(data))
    except UserError:
        return None


def only_present(experiment: Experiment, data: Path) -> Experiment:
    """The experiment without the data sets that are not under the data root; those are printed.

    Raises:
        UserError: if none is there, or the source of a cross protocol is not.
    """
    if experiment.source and not is_present(experiment.source, data):
        raise UserError(f"--present: the source {experiment.source} is not under {data}")
    names = tuple(name for name in experiment.datasets if is_present(name, data))
    if not names:
        raise UserError(f"--present: no data set of {experiment.name} is under {data}; set DATA, or give --data")
    lacking = [name for name in experiment.datasets if name not in names]
    if lacking:
        print(f"Not under {data}: {', '.join(lacking)}")
    return experiment._replace(datasets=names)
