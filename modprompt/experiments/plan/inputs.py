"""What runs were made with, CLIP files, splits and few-shot lists, compared with what is there now.

Hashing a CLIP takes seconds, so its hash is noted next to the results, with the file's size and time: a note counts
while these are the same. What cannot be compared is reported, and is no reason to run again.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from modprompt.clip import hub, known
from modprompt.data.split_files import find_recorded
from modprompt.experiments.plan.commands import effective
from modprompt.experiments.plan.job import Job
from modprompt.experiments.plan.present import split_hash_now
from modprompt.feature import features
from modprompt.io import compare
from modprompt.io.checksum import check_seal, sealed
from modprompt.io.paths import of_user
from modprompt.io.result import read_json
from modprompt.io.text import write_json
from modprompt.places import PACKAGE

NOTES = "clip_hashes.json"
_EMBEDDED_FILE = PACKAGE / "clip" / "models" / "glyph_clip.npz"


class Clip(NamedTuple):
    """A CLIP on disk: a run's settings (name, path, activation, heads, model), and the file or folder."""

    name: str
    path: str
    file: Path
    activation: str = ""
    heads: tuple[int, ...] = ()
    model: str = ""

    @property
    def key(self) -> str:
        """The key of its note."""
        said = [self.activation, str(list(self.heads))] if self.activation or self.heads else []
        return " ".join([str(self.file.absolute()), *said, *filter(None, [self.model])])


def clip_of(job: Job) -> Clip | None:
    """The CLIP on disk of a job; None for a name whose file's hash or commit is part of its address."""
    settings = effective(job)
    name, path, activation, heads, model = (
        settings.get(f"MODEL.BACKBONE.{key}", "") for key in ("NAME", "PATH", "ACTIVATION", "HEADS", "MODEL")
    )
    if path:
        return Clip(name, path, of_user(path), activation, _numbers(heads), model)
    return Clip(name, "", _EMBEDDED_FILE) if name == known.EMBEDDED else None


def _numbers(text: str) -> tuple[int, ...]:
    try:
        found = ast.literal_eval(text or "()")
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return ()  # refused with all other settings
    return tuple(found) if isinstance(found, (list, tuple)) and all(type(one) is int for one in found) else ()


def _stamp(file: Path) -> list[int] | None:
    """Size and time of a file, or of all files in a folder."""
    try:
        files = list(file.iterdir()) if file.is_dir() else [file]
        facts = [one.stat() for one in files]
    except OSError:
        return None
    return [sum(one.st_size for one in facts), max((one.st_mtime_ns for one in facts), default=0)]


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

    def _hash(self, clip: Clip) -> str | None:
        note = self.notes.get(clip.key)
        if not isinstance(note, dict) or note.get("stamp") != _stamp(clip.file):
            return None
        digest = note.get("hash")
        return digest if isinstance(digest, str) and isinstance(note.get("tokenizer", {}), dict) else None

    def note_clips(self, jobs: Sequence[Job]) -> None:
        """Hash the CLIP files of jobs that are not noted as they are now.

        Raises:
            UserError: if one cannot be read.
        """
        clips = dict.fromkeys(clip for clip in map(clip_of, jobs) if clip and _stamp(clip.file))
        unknown = [clip for clip in clips if self._hash(clip) is None]
        for clip in unknown:
            from modprompt.clip.facts import facts_of  # late: it brings PyTorch
            from modprompt.clip.load import load
            from modprompt.clip.source import Asked

            stamp = _stamp(clip.file)
            clip_model = load(Asked(clip.name, clip.path, clip.activation, clip.heads, clip.model))
            found, tokenizer = clip_model.fingerprint, dict(facts_of(clip_model).tokenizer)
            of_towers = {"tokenizer": tokenizer} if tokenizer else {}
            self.notes[clip.key] = {"stamp": stamp, "hash": found, **of_towers}
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
        if not recorded or self.data is None or compare.has_split_file(result.get("files") or {}):
            return None
        if job.dataset not in self._splits:
            self._splits[job.dataset] = split_hash_now(job.dataset, self.data)
        return self._splits[job.dataset]

    def changes(self, job: Job, result: dict[str, Any], wanted: Mapping[str, str]) -> list[str]:
        """What has changed since a job's result was made, as far as it can be told.

        Args:
            job: the run.
            result: its own.
            wanted: the settings that it must show.
        """
        found = compare.differing_files(result.get("files") or {}, self._find) if self._has_data(result) else []
        split = self._split_now(job, result)
        if split is not None and split != result["split"]["hash"]:
            found.append("the images, which have no split file, have changed")
        clip = clip_of(job)
        digest = None if clip is None else self._hash(clip)
        recorded = str(result.get("backbone_hash") or "")
        if clip is not None and digest is not None:
            found += compare.differing_clip(recorded, digest)
            found += compare.differing_tokenizer(result.get("clip") or {}, self.notes[clip.key])
        now, before = _commit_of(job), _recorded_commit(result)
        found += [f"the commit of its CLIP {before[:12]} -> {now[:12]}"] if now and before and now != before else []
        found += [text for one in features() for text in one.changed(self.out / job.folder, result)]
        return found + compare.differing_contents(result, wanted)

    def not_compared(self, job: Job, result: dict[str, Any]) -> list[str]:
        """What cannot be compared for a finished job: "CLIP", "split and few-shot list", "split" (it has no file)."""
        clip, recorded = clip_of(job), str(result.get("backbone_hash") or "")
        digest = None if clip is None else self._hash(clip)
        found = []
        from_hub = clip is None and bool(_recorded_commit(result))
        if not recorded or (from_hub and not _commit_of(job)) or (digest is None and clip is not None):
            found.append("CLIP")
        files = result.get("files") or {}
        if not self._has_data(result):
            found.append("split and few-shot list")
        elif isinstance(result.get("split"), dict) and not compare.has_split_file(files):
            found += [] if self._split_now(job, result) is not None else ["split"]
        return found
