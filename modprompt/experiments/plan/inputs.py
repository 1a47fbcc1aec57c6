"""The CLIP models and data sets on the disk: which are missing, and which differ from those of a finished run.

io/identity.py compares the facts of two runs, and this module finds the current files. Some facts cannot be compared:
those of a CLIP model or data set that is not on this disk, and those of a split without a file whose reader cannot
compute the split. They are reported, and the run is not repeated.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from modprompt.clip import lookup, spec
from modprompt.data.names import config_file
from modprompt.data.selection import lists_of
from modprompt.data.split_files import find_recorded
from modprompt.errors import UserError
from modprompt.experiments.plan.commands import planned_settings
from modprompt.experiments.plan.experiment import Experiment, Job
from modprompt.io import identity
from modprompt.io.files import of_user
from modprompt.io.images import IMAGE_FILES, differing_images, newest_change_ns, unchanged_since
from modprompt.io.program_text import find_module
from modprompt.io.result import has_split_file
from modprompt.io.settings import Settings, read_settings
from modprompt.methods import named_files
from modprompt.output import muted
from modprompt.programs import import_modules

_OF_IMAGES = (  # the starts of settings that decide which images a run uses
    "DATASET.", "SEED", "TEST.", "TRAINER.NAME", "ACTIVE.ROUNDS", "SEARCH.",
)  # fmt: skip

# ---------------------------------------------------------------------- data sets on the disk


def _reader_of(dataset: str) -> Any:
    """Return the reader of a data set, which has the name of its file in configs/datasets."""
    from modprompt.compat import find

    find.add_to_path()
    from dassl.data.datasets import DATASET_REGISTRY

    import modprompt.data.readers.all  # noqa: F401 - registers the readers

    return DATASET_REGISTRY.get(read_settings(str(config_file(dataset)))["DATASET.NAME"])


def _images_folder(dataset: str, data: Path) -> Path | None:
    """Return the folder of the images of a data set, or None if its reader does not tell."""
    reader = _reader_of(dataset)
    from modprompt.data import images  # the import needs Dassl, which _reader_of adds to the path

    return images.place_of_images(reader, data)


def find_missing(dataset: str, data: Path) -> str:
    """Return which file or folder of a data set is missing in the folder of all data sets, or ""."""
    reader, images = _reader_of(dataset), _images_folder(dataset, data)
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
    missing = [str(folder / name) for name in needed if not (folder / name).is_file()]
    return f"{' and '.join(missing)} {'does' if len(missing) == 1 else 'do'} not exist" if missing else ""


def require_present(datasets: Sequence[str], data: Path) -> None:
    """Raise UserError with the names of all data sets that are missing in the folder of all data sets."""
    reasons = {name: why for name in datasets if (why := find_missing(name, data))}
    if not reasons:
        return
    from modprompt.data.prepare.recipes import RECIPES  # only this error message needs the recipes

    with_recipe = [name for name in reasons if _reader_of(name).__name__ in RECIPES]
    advice = f"Run `modprompt prepare {' '.join(with_recipe)} --root {data}`, or set" if with_recipe else "Set"
    raise UserError(
        f"{len(reasons)} of {len(datasets)} data sets {'is' if len(reasons) == 1 else 'are'} missing in {data}, so no "
        f"run was started. {' '.join(f'{name}: {why}.' for name, why in reasons.items())} {advice} --data (or DATA) to "
        "the folder of the data sets, or use --skip-missing-data."
    )


def only_present(experiment: Experiment, data: Path) -> Experiment:
    """Return an experiment without missing data sets, whose names are printed.

    Raises:
        UserError: if all data sets are missing, or the training data set of a cross-data-set protocol is.
    """
    if experiment.source and find_missing(experiment.source, data):
        raise UserError(
            f"The data set {experiment.source} is missing in {data}, and --skip-missing-data cannot skip it, because "
            "the protocol trains on this data set. Add the data set."
        )
    missing = [name for name in experiment.datasets if find_missing(name, data)]
    names = tuple(name for name in experiment.datasets if name not in missing)
    if not names:
        raise UserError(
            f"--skip-missing-data: no data set of {experiment.name} is in {data}. Set --data (or DATA) to the folder "
            "of the data sets."
        )
    if missing:
        print(f"The following data sets are skipped, because they are missing in {data}: {', '.join(missing)}")
    return experiment._replace(datasets=names)


def require_tested_images(reader: Any, cfg: Any, is_test: bool) -> None:
    """Raise UserError if a data set has no images of the split that a run tests.

    Args:
        reader: the reader of the data set; readers without `without_test` and `without_validation` are not checked.
        cfg: the configuration of the run.
        is_test: whether the run trains nothing.
    """
    on_validation = cfg.TEST.SPLIT == "val"
    find_reason = getattr(reader, "without_validation" if on_validation else "without_test", None)
    if find_reason is None or (on_validation and (not is_test or cfg.DATASET.VAL_FROM_TEST)):
        return
    why = find_reason(of_user(cfg.DATASET.ROOT or "."))
    if why and on_validation:
        raise UserError(
            f"{why}. The protocol `validation` needs validation images. Use another data set or another protocol."
        )
    if why:
        raise UserError(f"{why}, so the experiment cannot measure any accuracy. Add test images.")


# ---------------------------------------------------------------------- what a finished run has used


def _clip_identity(clip: spec.ClipSpec) -> tuple[str, Mapping[str, Any]] | None:
    """Return the fingerprint and tokenizer of a CLIP model on this disk; None if it is missing or on a hub."""
    if clip.file is None or not lookup.seen(clip)["looks"]:
        return None
    from modprompt.clip.load import identity  # late, because PyTorch takes seconds to import

    return identity(clip)


def _differing_commit(result: Mapping[str, Any], clip: spec.ClipSpec) -> list[str]:
    """Return how the commit of a CLIP model from a hub differs from the commit in the cache."""
    then = str((result.get("clip") or {}).get("commit") or "")
    now = lookup.seen(clip)["looks"] if then else ""
    differs = now.startswith("commit ") and now != f"commit {then}"
    return [f"the commit of the CLIP, {then[:12]} -> {now.removeprefix('commit ')[:12]}"] * differs


def _differing_labels(folder: Path, result: Mapping[str, Any]) -> list[str]:
    """Return the rounds of a run whose labels have changed or whose record is missing."""
    if not result.get("active"):
        return []
    from modprompt.compat import find

    find.add_to_path()
    from modprompt.active.labelling import differing  # the import brings PyTorch and Dassl

    return differing(folder, result)


def _lacks_modules(job: Job) -> bool:
    """Return True if a module that a run imports is missing, so that its images cannot be examined."""
    return None in map(find_module, job.method.modules)


def _add_module_folders(job: Job) -> None:
    """Add the folders of the modules that a run imports to sys.path."""
    folders = [str(Path(word).absolute().parent) for word in job.method.imports if os.sep in word]
    sys.path[:0] = [folder for folder in folders if folder not in sys.path]


def _top_folder(name: str) -> str:
    """Return the name of the data set folder at the start of a recorded file name.

    The result is "" for a few-shot list outside a data set folder: a custom image folder has its split file in the
    folder of all data sets, which may be any folder.
    """
    first = name.partition("/")[0]
    return "" if first == "split_fewshot" else first


class Inputs:
    """The current CLIP models and data sets of an experiment. Each file and folder is examined once.

    Args:
        out: the output folder.
        data: the folder of the data sets; None if it is unknown.
    """

    def __init__(self, out: Path, data: Path | None):
        self.out, self.data = out, data
        self._split_of = functools.cache(self._split_hash)
        self._folder_of = functools.cache(self._folder_and_change)
        self._lists_of = functools.cache(self._lists)

    def changes(self, job: Job, result: dict[str, Any], settings: Mapping[str, str]) -> list[str]:
        """Return how the inputs of a run differ from those of its result.

        Args:
            job: the run.
            result: the result of the run.
            settings: the settings that the result must contain, which the caller compares.
        """
        _add_module_folders(job)
        settings = {**planned_settings(job), **settings}
        looks = named_files.looks(result, settings, _clip_identity)
        if self._has_data(result):
            looks |= {f"files/{name}": named_files.look_at_file(name, self._find) for name in result.get("files") or {}}
            if not _lacks_modules(job):
                looks[identity.IMAGES] = lambda _: self._differing_images(job, result)
        recorded = identity.facts(result)
        changed = identity.differences(recorded, recorded, looks)
        changed += _differing_commit(result, named_files.backbone_of(settings))
        return changed + _differing_labels(self.out / job.folder, result)

    def not_compared(self, job: Job, result: dict[str, Any]) -> list[str]:
        """Return which inputs of a finished run cannot be compared with the current files.

        "CLIP": the CLIP model is not on this disk. "method's source": a custom module is missing, or the result does
        not record it. "images": a custom module is missing. "split and few-shot list": the data set is not on this
        disk. "split": the split has no file, and the reader cannot compute it.
        """
        _add_module_folders(job)
        clip = named_files.backbone_of(planned_settings(job))
        is_on_disk = bool(lookup.seen(clip)["looks"])
        unknown = [] if is_on_disk and result.get("backbone_hash") else ["CLIP"]
        record = result.get("method") or {}
        sources = record.get(identity.SOURCES) or {}
        if ("module" in record and not sources) or None in map(find_module, sources):
            unknown.append("method's source")
        if _lacks_modules(job):
            unknown.append("images")
        if not self._has_data(result):
            return [*unknown, "split and few-shot list"]
        has_no_file = isinstance(result.get("split"), dict) and not has_split_file(result)
        return [*unknown, "split"] if has_no_file and self._current_split(job, result) is None else unknown

    def _find(self, name: str) -> str | None:
        return None if self.data is None else find_recorded(self.data, name)

    def _has_data(self, result: Mapping[str, Any]) -> bool:
        """Return True if the data set of a result is on this disk, as far as its recorded files tell."""
        names = map(str, result.get("files") or {})
        return self.data is not None and all((self.data / _top_folder(name)).exists() for name in names)

    def _split_hash(self, dataset: str) -> str | None:
        """Return the hash of the split that the folders of a data set make; "" for no split, None if it is unknown."""
        read: Callable[[Path | None], str | None] | None = getattr(_reader_of(dataset), "split_hash_now", None)
        with contextlib.suppress(UserError):
            return None if read is None else read(self.data)
        return None

    def _current_split(self, job: Job, result: Mapping[str, Any]) -> str | None:
        """Return the current hash of a recorded split that has no file; None if it is unknown."""
        recorded = (result.get("split") or {}).get("hash")
        return self._split_of(job.dataset) if recorded and not has_split_file(result) else None

    def _differing_images(self, job: Job, result: Mapping[str, Any]) -> str:
        """Return which images have changed since a result was written, or "".

        A split that has no file is compared by its hash. Other images are compared by their files and contents.
        """
        split = self._current_split(job, result)
        if split is not None and split != result["split"]["hash"]:
            return "the images, which have no split file, have changed"
        recorded, folder = result.get(IMAGE_FILES), self._folder_of(job.dataset)
        if not recorded or folder is None or unchanged_since(recorded, *folder):
            return ""
        try:
            return "; ".join(differing_images(recorded, *self.lists(job)))
        except UserError as error:
            return f"the images cannot be compared ({error})"

    def _folder_and_change(self, dataset: str) -> tuple[str, int] | None:
        """Return the folder of the images of a data set and the time of its last change; None if it is unknown."""
        folder = None if self.data is None else _images_folder(dataset, self.data)
        try:
            return (str(folder), newest_change_ns(str(folder))) if folder is not None and folder.is_dir() else None
        except OSError:
            return str(folder), time.time_ns()  # reading the images reports the error

    def lists(self, job: Job) -> tuple[Any, str]:
        """Return the images of a run as lists_of does, and the folder to which their paths are relative.

        Raises:
            UserError: if the images cannot be read.
        """
        settings = ((key, text) for key, text in planned_settings(job).items() if key.startswith(_OF_IMAGES))
        return self._lists_of(job.dataset, tuple(settings), job.is_test, job.method.imports)

    def _lists(
        self, dataset: str, settings: tuple[tuple[str, str], ...], is_test: bool, imports: tuple[str, ...]
    ) -> tuple[Any, str]:
        import modprompt.trainers.all  # noqa: F401 - registers the trainers
        from modprompt.trainers import config

        import_modules(imports)  # a custom method decides which images are examined
        reader, words = _reader_of(dataset), [word for pair in settings for word in pair]
        words += ["DATASET.ROOT", str(self.data), "OUTPUT_DIR", ""]  # without an output folder, nothing is written
        with muted():  # the runs have printed these notes
            cfg = config.of_settings(Settings.read([str(config_file(dataset))], {}, words), tests=is_test)
            images = reader(cfg)
        return lists_of(images, cfg), getattr(images, "image_root", "")
