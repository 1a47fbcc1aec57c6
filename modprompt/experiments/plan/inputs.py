"""What runs were made of, CLIP files, splits and few-shot lists, held against what is there now.

Hashing a CLIP takes seconds, so its hash is noted beside the results, with the file's size and time: a note counts as
long as these are the file's. What cannot be compared is said, and is no reason to run again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, Sequence

from modprompt.data.storage import find_recorded
from modprompt.experiments.plan.commands import effective
from modprompt.experiments.plan.protocols import Job
from modprompt.places import PACKAGE
from modprompt.runs import same
from modprompt.runs.result import read_json
from modprompt.storage.seal import check_seal, sealed
from modprompt.storage.text import write_json
from modprompt.storage.versioned import Versioned

NOTES = "clip_hashes.json"
_EMBEDDED = ("glyph-clip", PACKAGE / "clips" / "models" / "glyph_clip.npz")


class Clip(NamedTuple):
    """A CLIP on disk: the name and the path that a run gives, and the file."""

    name: str
    path: str
    file: Path


def clip_of(job: Job) -> Clip | None:
    """The CLIP file of a job; None for a name of the `clip` package, whose hash is part of its address."""
    settings = effective(job)
    name, path = (settings.get(f"MODEL.BACKBONE.{key}", "") for key in ("NAME", "PATH"))
    if path:
        return Clip(name, path, Path(path).expanduser())
    return Clip(name, "", _EMBEDDED[1]) if name == _EMBEDDED[0] else None


def _stamp(file: Path) -> list[int] | None:
    try:
        facts = file.stat()
    except OSError:
        return None
    return [facts.st_size, facts.st_mtime_ns]


def _notes(out: Path) -> dict[str, Any]:
    content = read_json(out / NOTES) or {}
    try:
        return dict(content.get("clips", {})) if check_seal(content, out / NOTES) else {}
    except (ValueError, TypeError):  # damaged: hashed again
        return {}


def _files(result: dict[str, Any]) -> dict[str, str] | None:
    """The files that a result has recorded; None if it has not said."""
    files = result.get("files")
    return files if isinstance(files, dict) else None


class Inputs:
    """The CLIPs and data sets of an experiment as they are now.

    Args:
        out: output folder, where hashes of CLIPs are noted.
        data: folder of the data sets; None if it is not known.
    """

    def __init__(self, out: Path, data: Path | None):
        self.out, self.data = out, data
        self.notes = _notes(out)

    def _hash(self, clip: Clip) -> Versioned | None:
        note = self.notes.get(str(clip.file.absolute()))
        if not isinstance(note, dict) or note.get("stamp") != _stamp(clip.file) or "old" not in note:
            return None
        return Versioned(str(note.get("hash")), str(note["old"]))

    def note_clips(self, jobs: Sequence[Job]) -> None:
        """Hash the CLIP files of jobs that are not noted as they are now.

        Raises:
            UserError: if one cannot be read.
        """
        clips = dict.fromkeys(clip for clip in map(clip_of, jobs) if clip and _stamp(clip.file))
        unknown = [clip for clip in clips if self._hash(clip) is None]
        for clip in unknown:
            from modprompt.clips.build import load_clip  # late: it brings PyTorch

            stamp = _stamp(clip.file)
            found: Any = load_clip(clip.name, clip.path).fingerprint
            self.notes[str(clip.file.absolute())] = {"stamp": stamp, "hash": str(found), "old": found.old}
        if unknown:
            write_json(self.out / NOTES, sealed({"clips": self.notes}, 1))

    def _find(self, name: str) -> str | None:
        return None if self.data is None else find_recorded(self.data, name)

    def _has_data(self, result: dict[str, Any]) -> bool:
        files = _files(result) or {}
        return self.data is not None and all((self.data / str(name).split("/")[0]).exists() for name in files)

    def changes(self, job: Job, result: dict[str, Any]) -> list[str]:
        """What a job's result was made of and is other now, as far as it can be told."""
        found = same.differing_files(_files(result) or {}, self._find) if self._has_data(result) else []
        clip = clip_of(job)
        digest = None if clip is None else self._hash(clip)
        recorded = str(result.get("backbone_hash") or "")
        if digest is not None:
            found += same.differing_clip(recorded, digest)
        return found + same.differing_weights(result.get("init_weights"), effective(job).get("MODEL.INIT_WEIGHTS", ""))

    def not_compared(self, job: Job, result: dict[str, Any]) -> list[str]:
        """What of a finished job cannot be compared: "CLIP", "split and few-shot list", "split" (it has no file)."""
        clip, recorded = clip_of(job), str(result.get("backbone_hash") or "")
        digest = None if clip is None else self._hash(clip)
        found = []
        if not recorded or (digest is None and (clip is not None or ":" not in recorded)):
            found.append("CLIP")
        elif ":" not in recorded:
            found.append("CLIP by today's rule (an earlier one, which proves less, agrees)")
        files = _files(result)
        if files is None or not self._has_data(result):
            found.append("split and few-shot list")
        elif isinstance(result.get("split"), dict) and not same.has_split_file(files):
            found.append("split")
        return found
