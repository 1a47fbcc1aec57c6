"""Which data sets are under the data root, and the test images of one."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modprompt.data.names import config_file
from modprompt.errors import UserError
from modprompt.experiments.plan.experiment import Experiment
from modprompt.experiments.plan.kinds import PLAIN
from modprompt.io.images import lists_of, newest_change_ns
from modprompt.io.settings import Settings, read_settings

# settings that decide a run's images
_OF_IMAGES = ("DATASET.", "SEED", "TEST.", "TRAINER.NAME", "ACTIVE.ROUNDS", "SEARCH.")


def _reader_of(dataset: str) -> Any:
    from modprompt.compat import find as compat

    compat.add_to_path()
    from dassl.data.datasets import DATASET_REGISTRY

    import modprompt.data.readers.all  # noqa: F401 - registers them

    return DATASET_REGISTRY.get(read_settings(str(config_file(dataset)))["DATASET.NAME"])


def missing(dataset: str, data: Path) -> str:
    """What a data set, named as in configs/datasets, lacks, in words.

    Returns:
        Empty if it is there, as far as its folders tell, or the reader does not say where it is.
    """
    reader = _reader_of(dataset)
    from modprompt.data.images import place_of_images  # late: by now Dassl is found

    images = place_of_images(reader, data)
    if getattr(reader, "makes_itself", False):
        is_made = images is None or images.is_dir()
        return "" if is_made else str(reader.without_source())
    if images is None:
        return ""
    if not images.is_dir():
        return f"there is no {images}"
    if not any(images.iterdir()):
        return f"{images} is empty"
    folder, needed = data / reader.dataset_dir, getattr(reader, "label_files", ())
    if needed and getattr(reader, "split_file", "") and (folder / reader.split_file).is_file():
        return ""
    lacking = [str(folder / name) for name in needed if not (folder / name).is_file()]
    return f"there is no {' and no '.join(lacking)}" if lacking else ""


def require_present(datasets: Sequence[str], data: Path) -> None:
    """Require that data sets are under the data root.

    Raises:
        UserError: naming all that are not.
    """
    lacking = {name: why for name in datasets if (why := missing(name, data))}
    if not lacking:
        return
    from modprompt.data.prepare.recipes import RECIPES  # late: few need it

    told = [name for name in lacking if _reader_of(name).__name__ in RECIPES]
    how = [f"run `modprompt prepare {' '.join(told)} --root {data}`"] if told else []
    raise UserError(
        f"{len(lacking)} of {len(datasets)} data sets are not under {data}, and nothing was started: "
        f"{'; '.join(f'{name}: {why}' for name, why in lacking.items())}: "
        f"{', '.join([*how, 'set DATA, give --data'])}, or leave them out with --present"
    )


def split_hash_now(dataset: str, data: Path) -> str | None:
    """The hash of the split that a data set's folders give; empty if they give none, None if it is not known."""
    read: Any = getattr(_reader_of(dataset), "split_hash_now", None)
    try:
        found: str | None = None if read is None else read(data)
    except UserError:
        return None
    return found


def image_folder(dataset: str, data: Path) -> tuple[str, int] | None:
    """The folder of a data set's images, and when something in it was changed last; None if that is not known."""
    reader = _reader_of(dataset)
    from modprompt.data.images import place_of_images  # late: by now Dassl is found

    found = place_of_images(reader, data)
    try:
        return (str(found), newest_change_ns(str(found))) if found is not None and found.is_dir() else None
    except OSError:
        return str(found), time.time_ns()  # reading the images tells


def of_images(settings: Mapping[str, str]) -> dict[str, str]:
    """Those of a run's settings that decide its images."""
    return {key: text for key, text in settings.items() if key.startswith(_OF_IMAGES)}


def lists(dataset: str, settings: Mapping[str, str], tests: bool, data: Path) -> tuple[Any, str]:
    """The images of a run as lists_of gives them, and the folder that their paths are relative to.

    Args:
        dataset: as in configs/datasets.
        settings: of the run, those of of_images.
        tests: whether it only tests.
        data: folder of the data sets.

    Raises:
        UserError: if they cannot be read.
    """
    found, cfg = _read(dataset, {**settings, "DATASET.ROOT": str(data)}, tests)
    return lists_of(found, cfg), getattr(found, "image_root", "")


def _read(dataset: str, settings: Mapping[str, str], tests: bool) -> tuple[Any, Any]:
    """A data set as its reader gives it under a run's settings, without its messages, and the configuration."""
    from modprompt.compat import find as compat

    compat.add_to_path()
    from dassl.data.datasets import DATASET_REGISTRY

    import modprompt.data.readers.all
    import modprompt.trainers.all  # noqa: F401
    from modprompt.trainers import run_config

    words = [word for pair in settings.items() for word in pair]
    with contextlib.redirect_stdout(io.StringIO()):  # the runs have printed it
        cfg = run_config.merged(Settings.read([str(config_file(dataset))], {}, words), tests=tests)
        return DATASET_REGISTRY.get(cfg.DATASET.NAME)(cfg), cfg


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
        UserError: if it is not there, or its reader refuses the settings.
    """
    lacking = missing(dataset, data)
    if lacking:
        raise UserError(f"{lacking}: set DATA, or give --data")
    given = {key: value for key, value in settings.items() if key.startswith("DATASET.")}
    given.update({"DATASET.ROOT": str(data), "DATASET.SUBSAMPLE_CLASSES": "all", "DATASET.NUM_SHOTS": "-1"})
    return list(_read(dataset, {**given, "TRAINER.NAME": PLAIN}, tests=True)[0].test)
