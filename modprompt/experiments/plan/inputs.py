"""Whether a result's CLIPs, splits, few-shot lists and images are still those that a run would read now.

io/same_run.py compares; here is where these things lie. What cannot be compared is reported, and is no reason to run
again: a CLIP or data set that is not on this disk, a split without a file whose reader cannot tell.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from modprompt.clip import known
from modprompt.data.names import config_file
from modprompt.data.split_files import find_recorded
from modprompt.errors import UserError
from modprompt.experiments.plan.commands import effective
from modprompt.experiments.plan.experiment import Job
from modprompt.experiments.plan.present import place_of_images, reader_of
from modprompt.io import same_run
from modprompt.io.images import IMAGE_FILES, differing_images, lists_of, newest_change_ns, unchanged_since
from modprompt.io.program_text import find_module
from modprompt.io.settings import Settings
from modprompt.methods import named_files
from modprompt.output import muted
from modprompt.programs import import_modules

# settings that decide a run's images
_OF_IMAGES = ("DATASET.", "SEED", "TEST.", "TRAINER.NAME", "ACTIVE.ROUNDS", "SEARCH.")


def _identity(clip: known.Asked) -> tuple[str, Mapping[str, Any]] | None:
    """Fingerprint and tokenizer of a CLIP that lies on disk; None if it is not there, or on a hub."""
    return known.identity(clip) if clip.file is not None and known.seen(clip)["looks"] else None


def _differing_commit(result: Mapping[str, Any], clip: known.Asked) -> list[str]:
    """How the commit of a CLIP from a hub differs from the cached one."""
    then = str((result.get("clip") or {}).get("commit") or "")
    now = known.seen(clip)["looks"] if then else ""
    differs = now.startswith("commit ") and now != f"commit {then}"
    return [f"the commit of the CLIP, {then[:12]} -> {now.removeprefix('commit ')[:12]}"] * differs


def _differing_labels(folder: Path, result: Mapping[str, Any]) -> list[str]:
    """Which rounds of a run have other labels now, or no record any more."""
    if not result.get("active"):
        return []
    from modprompt.compat import find

    find.add_to_path()
    from modprompt.active.labelling import differing  # late: it brings PyTorch and Dassl

    return differing(folder, result)


def _lacks_modules(job: Job) -> bool:
    """Return True if a module that a job imports is not found, without which its images cannot be examined."""
    return None in map(find_module, job.method.imports)


def _add_folders_of_modules(job: Job) -> None:
    """Add the folders of the modules that a job imports, which may be next to the experiment file, to sys.path."""
    folders = [str(Path(word).absolute().parent) for word in job.method.import_words if os.sep in word]
    sys.path[:0] = [folder for folder in folders if folder not in sys.path]


def _top_of(name: str) -> str:
    """A data set's folder in the root, by a recorded file; empty for a few-shot list that lies in the root itself.

    Own images have their split file in the root itself, which may be any folder: --data may name another one.
    """
    first = name.partition("/")[0]
    return "" if first == "split_fewshot" else first


class Inputs:
    """The CLIPs and data sets of an experiment as they are now.

    Args:
        out: output folder.
        data: folder of the data sets; None if it is not known.
    """

    def __init__(self, out: Path, data: Path | None):
        self.out, self.data = out, data
        self._split_of = functools.cache(self._split_hash)
        self._folder_of = functools.cache(self._image_folder)
        self._lists_of = functools.cache(self._lists)

    def changes(self, job: Job, result: dict[str, Any], wanted: Mapping[str, str]) -> list[str]:
        """What has changed since a job's result was made, as far as it can be told.

        Args:
            job: the run.
            result: its own.
            wanted: the settings that it must show.
        """
        _add_folders_of_modules(job)
        settings = {**effective(job), **wanted}
        looks = named_files.looks(result, settings, _identity)
        if self._has_data(result):
            looks |= {f"files/{name}": same_run.look_at_file(name, self._find) for name in result.get("files") or {}}
            if not _lacks_modules(job):
                looks[same_run.IMAGES] = lambda _: self._differing_images(job, result)
        then = same_run.facts(result)
        changed = same_run.differences(then, then, looks)  # its settings are compared before
        changed += _differing_commit(result, named_files.backbone_of(settings))
        return changed + _differing_labels(self.out / job.folder, result)

    def not_compared(self, job: Job, result: dict[str, Any]) -> list[str]:
        """Return what cannot be compared for a finished job, from these.

        "CLIP"; "method's source" (a custom module that is not found, or an older result); "images" (a custom module
        is not found); "split and few-shot list"; "split" (it has no file).
        """
        _add_folders_of_modules(job)
        clip = named_files.backbone_of(effective(job))
        is_there = bool(known.seen(clip)["looks"])
        unknown = [] if is_there and result.get("backbone_hash") else ["CLIP"]
        record = result.get("method") or {}
        sources = record.get(same_run.SOURCES) or {}
        if ("module" in record and not sources) or None in map(find_module, sources):
            unknown.append("method's source")
        if _lacks_modules(job):
            unknown.append("images")
        if not self._has_data(result):
            return [*unknown, "split and few-shot list"]
        by_folders = isinstance(result.get("split"), dict) and not same_run.has_split_file(result)
        return [*unknown, "split"] if by_folders and self._split_now(job, result) is None else unknown

    def _find(self, name: str) -> str | None:
        return None if self.data is None else find_recorded(self.data, name)

    def _has_data(self, result: Mapping[str, Any]) -> bool:
        """Whether the data set of a result is below the folder of data sets, as far as the files that it names tell."""
        names = map(str, result.get("files") or {})
        return self.data is not None and all((self.data / _top_of(name)).exists() for name in names)

    def _split_hash(self, dataset: str) -> str | None:
        """The hash of the split that a data set's folders give; empty if they give none, None if it is not known."""
        read: Callable[[Path | None], str | None] | None = getattr(reader_of(dataset), "split_hash_now", None)
        with contextlib.suppress(UserError):
            return None if read is None else read(self.data)
        return None

    def _split_now(self, job: Job, result: Mapping[str, Any]) -> str | None:
        """The hash of a split without a file as its folders are now; None if it is not known."""
        recorded = (result.get("split") or {}).get("hash")
        return self._split_of(job.dataset) if recorded and not same_run.has_split_file(result) else None

    def _differing_images(self, job: Job, result: Mapping[str, Any]) -> str:
        """Which images have changed: by folders that are a split, else by what their files look like, then contents."""
        split = self._split_now(job, result)
        if split is not None and split != result["split"]["hash"]:
            return "the images, which have no split file, have changed"
        recorded, place = result.get(IMAGE_FILES), self._folder_of(job.dataset)
        if not recorded or place is None or unchanged_since(recorded, *place):
            return ""
        try:
            return "; ".join(differing_images(recorded, *self.lists(job)))
        except UserError as error:
            return f"the images cannot be compared ({error})"

    def _image_folder(self, dataset: str) -> tuple[str, int] | None:
        """The folder of a data set's images, and when something in it was changed last; None if it is not known."""
        folder = None if self.data is None else place_of_images(dataset, self.data)
        try:
            return (str(folder), newest_change_ns(str(folder))) if folder is not None and folder.is_dir() else None
        except OSError:
            return str(folder), time.time_ns()  # reading the images tells

    def lists(self, job: Job) -> tuple[Any, str]:
        """A run's images, as lists_of gives them, and the folder that their paths are relative to; raises UserError if
        they cannot be read."""
        settings = ((key, text) for key, text in effective(job).items() if key.startswith(_OF_IMAGES))
        return self._lists_of(job.dataset, tuple(settings), job.tests, job.method.import_words)

    def _lists(
        self, dataset: str, settings: tuple[tuple[str, str], ...], tests: bool, imports: tuple[str, ...]
    ) -> tuple[Any, str]:
        import modprompt.trainers.all  # noqa: F401 - registers them
        from modprompt.trainers import run_config

        import_modules(imports)  # a custom method decides which images are examined
        reader, words = reader_of(dataset), [word for pair in settings for word in pair]
        words += ["DATASET.ROOT", str(self.data), "OUTPUT_DIR", ""]  # reading writes nothing
        with muted():  # the runs have printed these notes
            cfg = run_config.merged(Settings.read([str(config_file(dataset))], {}, words), tests=tests)
            images = reader(cfg)
        return lists_of(images, cfg), getattr(images, "image_root", "")
