"""Which data sets lie under the data root, and the test images of one."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path
from typing import Any, Mapping, Sequence

from modprompt.data.names import config_file
from modprompt.errors import UserError
from modprompt.experiments.plan.experiment import Experiment
from modprompt.io.settings import Settings, read_settings


def _reader_of(dataset: str) -> Any:
    from modprompt.compat import find as compat

    compat.add_to_path()
    from dassl.data.datasets import DATASET_REGISTRY

    import modprompt.data.readers.all  # noqa: F401 - registers them

    return DATASET_REGISTRY.get(read_settings(str(config_file(dataset)))["DATASET.NAME"])


def missing(dataset: str, data: Path) -> Path | None:
    """The folder of images that a data set, named as in configs/datasets, needs and that is not there.

    Returns:
        None if it is there, or the images are written at first use, or the reader does not say where they are.
    """
    reader = _reader_of(dataset)
    from modprompt.data.images import place_of_images  # late: by now Dassl is found

    images = None if getattr(reader, "makes_itself", False) else place_of_images(reader, data)
    return None if images is None or images.is_dir() else images


def require_present(datasets: Sequence[str], data: Path) -> None:
    """Print a line for each data set that is not under the data root.

    Raises:
        UserError: if there is one.
    """
    lacking = {name: images for name in datasets if (images := missing(name, data)) is not None}
    for name, images in lacking.items():
        how = f"; run `python -m modprompt prepare {name} --root {data}`" if images != data else ""
        print(f"missing data set: {name}: there is no {images}{how}", file=sys.stderr)
    if lacking:
        count = f"{len(lacking)} of {len(datasets)} data sets are not under {data}"
        raise UserError(f"{count}, and nothing was started: set DATA, give --data, or leave them out with --present")


def split_hash_now(dataset: str, data: Path) -> str | None:
    """The hash of the split that a data set's folders make; empty if they make none, None where nobody can tell."""
    read: Any = getattr(_reader_of(dataset), "split_hash_now", None)
    try:
        found: str | None = None if read is None else read(data)
    except UserError:
        return None
    return found


def only_present(experiment: Experiment, data: Path) -> Experiment:
    """The experiment without the data sets that are not under the data root; those are printed.

    Raises:
        UserError: if none is there, or the source of a cross protocol is not.
    """
    if experiment.source and missing(experiment.source, data):
        raise UserError(f"--present: the source {experiment.source} is not under {data}")
    names = tuple(name for name in experiment.datasets if not missing(name, data))
    if not names:
        raise UserError(f"--present: no data set of {experiment.name} is under {data}; set DATA, or give --data")
    lacking = [name for name in experiment.datasets if name not in names]
    if lacking:
        print(f"Not under {data}: {', '.join(lacking)}")
    return experiment._replace(datasets=names)


def test_images(dataset: str, settings: Mapping[str, str], data: Path) -> list[Any]:
    """The test images of all classes of a data set, as a run's settings name it: `impath`, `label`, `classname` each.

    Args:
        dataset: as in configs/datasets.
        settings: of the run, {dotted key: text}.
        data: folder of the data sets.

    Raises:
        UserError: if it is not there, or its reader takes none of that.
    """
    from modprompt.compat import find as compat

    compat.add_to_path()
    from dassl.data.datasets import DATASET_REGISTRY

    import modprompt.data.readers.all
    import modprompt.trainers.all  # noqa: F401
    from modprompt.trainers import run_config

    lacking = missing(dataset, data)
    if lacking is not None:
        raise UserError(f"there is no {lacking}: set DATA, or give --data")
    given = {key: value for key, value in settings.items() if key.startswith("DATASET.")}
    given.update({"DATASET.ROOT": str(data), "DATASET.SUBSAMPLE_CLASSES": "all", "DATASET.NUM_SHOTS": "-1"})
    words = [word for pair in {**given, "TRAINER.NAME": "ZeroshotCLIP"}.items() for word in pair]
    with contextlib.redirect_stdout(io.StringIO()):  # the runs have said it
        cfg = run_config.merged(Settings.read([str(config_file(dataset))], {}, words), tests=True)
        return list(DATASET_REGISTRY.get(cfg.DATASET.NAME)(cfg).test)
