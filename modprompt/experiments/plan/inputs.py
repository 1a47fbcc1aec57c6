"""What runs were made with, CLIP files, splits and few-shot lists, compared with what is there now.

Hashing a CLIP takes seconds, so its hash is noted next to the results, with the file's size and time: a note counts
while these are the same. What cannot be compared is reported, and is no reason to run again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modprompt.clip import hub, known
from modprompt.data.split_files import find_recorded
from modprompt.errors import UserError
from modprompt.experiments.plan import present as data_sets
from modprompt.experiments.plan.commands import effective
from modprompt.experiments.plan.job import Job
from modprompt.io import same_run
from modprompt.io.files import write_json
from modprompt.io.images import IMAGE_FILES, differing_images, unchanged_since
from modprompt.io.records import check_seal, read_json, sealed
from modprompt.methods import named_files

NOTES = "clip_hashes.json"


def clips_of(job: Job) -> dict[str, known.Asked]:
    """The CLIPs of a job that lie on disk, by fact: its own, and those that teach."""
    settings = effective(job)
    return {
        fact: clip
        for fact, clip in named_files.clips_of(settings, dict.fromkeys(same_run.CLIPS, "")).items()
        if clip.file is not None
    }


def _commit_of(job: Job) -> str:
    """The cached commit of a job's CLIP, if that comes from a hub; empty if it is not known."""
    settings = effective(job)
    address = known.repository(settings.get("MODEL.BACKBONE.NAME", ""))
    found = hub.cached(*address) if address and not settings.get("MODEL.BACKBONE.PATH") else None
    return found.commit if found else ""


def _notes(out: Path) -> dict[str, Any]:
    content = read_json(out / NOTES) or {}
    try:
        return dict(content.get("clips", {})) if check_seal(content, out / NOTES) else {}
    except (ValueError, TypeError):  # damaged: hashed again
        return {}


def _folder_in(name: str) -> str:
    """The data set's folder under the root, by a recorded file's name; empty if it is the root itself."""
    first, _, rest = name.partition("/")
    return "" if not rest or first == "split_fewshot" else first


def _recorded_commit(result: dict[str, Any]) -> str:
    return str((result.get("clip") or {}).get("commit") or "")


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
        self.notes = _notes(out)
        self._splits: dict[str, str | None] = {}  # of data sets whose split has no file, as they are now
        self._folders: dict[str, tuple[str, int] | None] = {}
        self._read: dict[tuple[Any, ...], tuple[Any, str]] = {}  # images of jobs, by what decides them

    def _noted(self, clip: known.Asked) -> tuple[str, Mapping[str, Any]] | None:
        """Fingerprint and tokenizer of a CLIP, if they are noted as it is now."""
        note = self.notes.get(clip.key)
        if not isinstance(note, dict) or note.get("looks") != known.seen(clip)["looks"]:
            return None
        digest, tokenizer = note.get("hash"), note.get("tokenizer", {})
        return (digest, tokenizer) if isinstance(digest, str) and isinstance(tokenizer, dict) else None

    def note_clips(self, jobs: Sequence[Job]) -> None:
        """Hash the CLIP files of jobs that are not noted as they are now.

        Raises:
            UserError: if one cannot be read.
        """
        clips = dict.fromkeys(clip for job in jobs for clip in clips_of(job).values() if known.seen(clip)["looks"])
        unknown = [clip for clip in clips if self._noted(clip) is None]
        for clip in unknown:
            looks = known.seen(clip)["looks"]
            found, tokenizer = known.identity(clip)
            self.notes[clip.key] = {
                "looks": looks,
                "hash": found,
                **({"tokenizer": dict(tokenizer)} if tokenizer else {}),
            }
        if unknown:
            write_json(self.out / NOTES, sealed({"clips": self.notes}, 1))

    def _find(self, name: str) -> str | None:
        return None if self.data is None else find_recorded(self.data, name)

    def _has_data(self, result: dict[str, Any]) -> bool:
        files = result.get("files") or {}
        return self.data is not None and all((self.data / _folder_in(str(name))).exists() for name in files)

    def _split_now(self, job: Job, result: dict[str, Any]) -> str | None:
        """The hash of a split without a file as its folders are now; None if the result has no such split."""
        split = result.get("split")
        recorded = split.get("hash") if isinstance(split, dict) else None
        if not recorded or self.data is None or same_run.has_split_file(result):
            return None
        if job.dataset not in self._splits:
            self._splits[job.dataset] = data_sets.split_hash_now(job.dataset, self.data)
        return self._splits[job.dataset]

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
            return differing_images(recorded, *self._lists(job))
        except UserError as error:
            return [f"the images cannot be read as they were ({error})"]

    def _folder_of(self, dataset: str) -> tuple[str, int] | None:
        """The folder of a data set's images, and when something in it was changed last; None if it is not known."""
        if dataset not in self._folders:
            self._folders[dataset] = None if self.data is None else data_sets.image_folder(dataset, self.data)
        return self._folders[dataset]

    def _lists(self, job: Job) -> tuple[Any, str]:
        """A job's images, and the folder that their paths are relative to."""
        settings = data_sets.of_images(effective(job))
        key = (job.dataset, job.tests, *sorted(settings.items()))
        if key not in self._read:
            assert self.data is not None
            self._read[key] = data_sets.lists(job.dataset, settings, job.tests, self.data)
        return self._read[key]

    def not_compared(self, job: Job, result: dict[str, Any]) -> list[str]:
        """What cannot be compared for a finished job: "CLIP", "split and few-shot list", "split" (it has no file)."""
        clip, recorded = clips_of(job).get(same_run.CLIP), str(result.get("backbone_hash") or "")
        seen = (result.get(same_run.CLIP_FILES) or {}).get(same_run.CLIP)
        known_now = clip is None or known.seen(clip) == seen or self._noted(clip) is not None
        found = []
        from_hub = clip is None and bool(_recorded_commit(result))
        if not recorded or (from_hub and not _commit_of(job)) or not known_now:
            found.append("CLIP")
        if not self._has_data(result):
            found.append("split and few-shot list")
        elif isinstance(result.get("split"), dict) and not same_run.has_split_file(result):
            found += [] if self._split_now(job, result) is not None else ["split"]
        return found
