"""The CLIPs, splits, few-shot lists and images of runs as they are now, and compared with those of their results.

Hashing a CLIP takes seconds, so its hash is noted next to the results, with the file's size and time: a note counts
while these are the same. What cannot be compared is reported, and is no reason to run again.
"""

from __future__ import annotations

import contextlib
import functools
import io
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from modprompt.clip import hub, known
from modprompt.data.names import config_file
from modprompt.data.split_files import find_recorded
from modprompt.errors import UserError
from modprompt.experiments.plan.commands import effective
from modprompt.experiments.plan.experiment import Experiment, Job
from modprompt.io import same_run
from modprompt.io.files import write_json
from modprompt.io.images import IMAGE_FILES, differing_images, lists_of, newest_change_ns, unchanged_since
from modprompt.io.records import check_seal, read_json, sealed
from modprompt.io.settings import Settings, read_settings
from modprompt.methods import named_files

NOTES = "clip_hashes.json"
# settings that decide a run's images
_OF_IMAGES = ("DATASET.", "SEED", "TEST.", "TRAINER.NAME", "ACTIVE.ROUNDS", "SEARCH.")


def _reader_of(dataset: str) -> Any:
    from modprompt.compat import find as compat

    compat.add_to_path()
    from dassl.data.datasets import DATASET_REGISTRY

    import modprompt.data.readers.all  # noqa: F401 - registers them

    return DATASET_REGISTRY.get(read_settings(str(config_file(dataset)))["DATASET.NAME"])


def _place_of_images(dataset: str, data: Path) -> Path | None:
    """The folder of a data set's images; None if its reader does not say."""
    reader = _reader_of(dataset)
    from modprompt.data.images import place_of_images  # late: by now Dassl is found

    return place_of_images(reader, data)


def missing(dataset: str, data: Path) -> str:
    """What a data set, named as in configs/datasets, lacks, in words; empty if it is there, as far as its folders and
    its reader tell."""
    reader, images = _reader_of(dataset), _place_of_images(dataset, data)
    if getattr(reader, "makes_itself", False):
        return "" if images is None or images.is_dir() else str(reader.without_source())
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
    """Raise UserError, naming all data sets that are not under the data root."""
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


def only_present(experiment: Experiment, data: Path) -> Experiment:
    """The experiment without the data sets that are not under the data root, which are printed.

    Raises UserError if none is there, or the source of a cross protocol is not.
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


def clips_of(job: Job) -> dict[str, known.Asked]:
    """The CLIPs of a job that lie on disk, by fact: its own, and those that teach."""
    clips = named_files.clips_of(effective(job), dict.fromkeys(same_run.CLIPS, ""))
    return {fact: clip for fact, clip in clips.items() if clip.file is not None}


def _commit_of(job: Job) -> str:
    """The cached commit of a job's CLIP, if that comes from a hub; empty if it is not known."""
    settings = effective(job)
    address = known.repository(settings.get("MODEL.BACKBONE.NAME", ""))
    found = hub.cached(*address) if address and not settings.get("MODEL.BACKBONE.PATH") else None
    return found.commit if found else ""


def _recorded_commit(result: dict[str, Any]) -> str:
    return str((result.get("clip") or {}).get("commit") or "")


def _folder_in(name: str) -> str:
    """The data set's folder under the root, by a recorded file's name; empty if it is the root itself."""
    first, _, rest = name.partition("/")
    return "" if not rest or first == "split_fewshot" else first


def _differing_labels(folder: Path, result: dict[str, Any]) -> list[str]:
    """Which rounds of a run have other labels now, or no record any more."""
    if not result.get("active"):
        return []
    from modprompt.compat import find

    find.add_to_path()
    from modprompt.active.labelling import differing  # late: it brings PyTorch and Dassl

    return differing(folder, result)


class Inputs:
    """The CLIPs and data sets of an experiment as they are now.

    Args:
        out: output folder, where hashes of CLIPs are noted.
        data: folder of the data sets; None if it is not known.
    """

    def __init__(self, out: Path, data: Path | None):
        self.out, self.data = out, data
        self.notes: dict[str, dict[str, Any]] = {}
        with contextlib.suppress(ValueError, TypeError):  # damaged: hashed again
            content = read_json(out / NOTES) or {}
            self.notes = content["clips"] if check_seal(content, out / NOTES) else {}
        self._split_of = functools.cache(self._split_hash)  # of data sets whose split has no file, as they are now
        self._folder_of = functools.cache(self._image_folder)
        self._lists_of = functools.cache(self._lists)

    def _noted(self, clip: known.Asked) -> tuple[str, Mapping[str, Any]] | None:
        """Fingerprint and tokenizer of a CLIP, if they are noted as it is now."""
        note = self.notes.get(clip.key, {})
        return (note["hash"], note.get("tokenizer", {})) if note.get("looks") == known.seen(clip)["looks"] else None

    def note_clips(self, jobs: Sequence[Job]) -> None:
        """Hash the CLIP files of jobs that are not noted as they are now; raises UserError if one cannot be read."""
        clips = dict.fromkeys(clip for job in jobs for clip in clips_of(job).values() if known.seen(clip)["looks"])
        unknown = [clip for clip in clips if self._noted(clip) is None]
        for clip in unknown:
            looks, (found, tokenizer) = known.seen(clip)["looks"], known.identity(clip)
            self.notes[clip.key] = {"looks": looks, "hash": found, "tokenizer": dict(tokenizer)}
        if unknown:
            write_json(self.out / NOTES, sealed({"clips": self.notes}, 1))

    def _find(self, name: str) -> str | None:
        return None if self.data is None else find_recorded(self.data, name)

    def _has_data(self, result: dict[str, Any]) -> bool:
        files = result.get("files") or {}
        return self.data is not None and all((self.data / _folder_in(str(name))).exists() for name in files)

    def _split_hash(self, dataset: str) -> str | None:
        """The hash of the split that a data set's folders give; empty if they give none, None if it is not known."""
        read: Callable[[Path | None], str] | None = getattr(_reader_of(dataset), "split_hash_now", None)
        with contextlib.suppress(UserError):
            return None if read is None else read(self.data)
        return None

    def _split_now(self, job: Job, result: dict[str, Any]) -> str | None:
        """The hash of a split without a file as its folders are now; None if the result has no such split."""
        split = result.get("split")
        recorded = split.get("hash") if isinstance(split, dict) else None
        if not recorded or self.data is None or same_run.has_split_file(result):
            return None
        return self._split_of(job.dataset)

    def changes(self, job: Job, result: dict[str, Any], wanted: Mapping[str, str]) -> list[str]:
        """What has changed since a job's result was made, as far as it can be told.

        Args:
            job: the run.
            result: its own.
            wanted: the settings that it must show.
        """
        settings = {**effective(job), **wanted}
        looks = named_files.looks(result, settings, self._noted)
        if self._has_data(result):
            looks |= {f"files/{name}": same_run.look_at_file(name, self._find) for name in result.get("files") or {}}
        then = same_run.facts(result)
        found = same_run.differences(then, then, looks)  # its settings are compared before
        split = self._split_now(job, result)
        if split is not None and split != result["split"]["hash"]:
            found.append("the images, which have no split file, have changed")
        found = found or self._differing_images(job, result)
        now, before = _commit_of(job), _recorded_commit(result)
        found += [f"the commit of its CLIP {before[:12]} -> {now[:12]}"] if now and before and now != before else []
        return found + _differing_labels(self.out / job.folder, result)

    def _differing_images(self, job: Job, result: dict[str, Any]) -> list[str]:
        """Which images have changed, where its split and lists are as they were."""
        recorded, place = result.get(IMAGE_FILES), self._folder_of(job.dataset) if self._has_data(result) else None
        if not recorded or place is None or unchanged_since(recorded, *place):
            return []
        try:
            return differing_images(recorded, *self.lists(job))
        except UserError as error:
            return [f"the images cannot be read as they were ({error})"]

    def _image_folder(self, dataset: str) -> tuple[str, int] | None:
        """The folder of a data set's images, and when something in it was changed last; None if it is not known."""
        found = None if self.data is None else _place_of_images(dataset, self.data)
        try:
            return (str(found), newest_change_ns(str(found))) if found is not None and found.is_dir() else None
        except OSError:
            return str(found), time.time_ns()  # reading the images tells

    def lists(self, job: Job) -> tuple[Any, str]:
        """A run's images, as lists_of gives them, and the folder that their paths are relative to; raises UserError if
        they cannot be read."""
        settings = ((key, text) for key, text in effective(job).items() if key.startswith(_OF_IMAGES))
        return self._lists_of(job.dataset, tuple(settings), job.tests)

    def _lists(self, dataset: str, settings: tuple[tuple[str, str], ...], tests: bool) -> tuple[Any, str]:
        found, cfg = _read(dataset, {**dict(settings), "DATASET.ROOT": str(self.data), "OUTPUT_DIR": ""}, tests)
        return lists_of(found, cfg), getattr(found, "image_root", "")

    def not_compared(self, job: Job, result: dict[str, Any]) -> list[str]:
        """What cannot be compared for a finished job: "CLIP", "split and few-shot list", "split" (it has no file)."""
        clip, recorded = clips_of(job).get(same_run.CLIP), str(result.get("backbone_hash") or "")
        seen = (result.get(same_run.CLIP_FILES) or {}).get(same_run.CLIP)
        known_now = clip is None or known.seen(clip) == seen or self._noted(clip) is not None
        from_hub = clip is None and bool(_recorded_commit(result))
        found = ["CLIP"] if not recorded or (from_hub and not _commit_of(job)) or not known_now else []
        if not self._has_data(result):
            found.append("split and few-shot list")
        elif isinstance(result.get("split"), dict) and not same_run.has_split_file(result):
            found += [] if self._split_now(job, result) is not None else ["split"]
        return found
