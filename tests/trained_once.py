"""Trainings that several tests begin from: each is run once in a process, and copied to wherever it is asked for."""

from __future__ import annotations

import atexit
import functools
import hashlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from modprompt.cli import train


def trained(words: Sequence[str]) -> None:
    """Leave what `train.main(words)` leaves in its output folder, and beside the images; what it says is not said again.

    The folder is as one that was moved there. Trainings are one if their words are, but for the places of images,
    config and output, the config says the same, and the same files are there before.
    """
    words = [*map(str, words)]
    root, out, config = (Path(words[words.index(flag) + 1]) for flag in ("--root", "--output-dir", "--config-file"))
    before = _files(root)
    places = {str(root): "root", str(out): "out", str(config): config.read_text()}
    facts = [[places.get(word, word) for word in words], sorted((str(name), size) for name, size in before.items())]
    kept = _folder() / hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    assert not out.exists(), "it would go on, or be refused"
    if not kept.exists():
        assert train.main(words) == 0
        _copy(out, [*_files(out)], kept / "out")
        _copy(root, [name for name in _files(root) if name not in before], kept / "root")
    else:
        for place, folder in (("out", out), ("root", root)):
            shutil.copytree(kept / place, folder, dirs_exist_ok=True)
    torch.manual_seed(0)  # so that a test draws the same whichever it was


@functools.cache
def _folder() -> Path:
    folder = tempfile.mkdtemp(prefix="modprompt-trained-")
    atexit.register(shutil.rmtree, folder)
    return Path(folder)


def _files(root: Path) -> dict[Path, int]:
    return {path.relative_to(root): path.stat().st_size for path in root.rglob("*") if path.is_file()}


def _copy(folder: Path, names: Sequence[Path], to: Path) -> None:
    to.mkdir(parents=True)
    for name in names:
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(folder / name, to / name)
