"""On what was measured: card, versions, commit. Figures of one table have all of it in common."""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
from pathlib import Path
from typing import Dict

import torch

from benchmarks.gpu.task import Place
from modprompt.places import ROOT
from modprompt.version import __version__

# in a process of its own, so that this one holds nothing of the card while the cases run
CARD = """
import torch
card = torch.cuda.get_device_properties(0)
print(f"{card.name}, {card.total_memory / 2**30:.0f} GiB, compute {card.major}.{card.minor}")
"""


def _said(*words: str, folder: Path = ROOT) -> str:
    """What a program prints; "" where it is not there or fails."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=folder)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def commit(folder: Path) -> str:
    """The commit of a checkout, and a hash of what has changed since; "unknown" where git does not tell."""
    head = _said("git", "rev-parse", "--short=12", "HEAD", folder=folder)
    changes = _said("git", "diff", "HEAD", folder=folder) + _said(
        "git", "ls-files", "--others", "--exclude-standard", folder=folder
    )
    mark = f" changed {hashlib.sha256(changes.encode()).hexdigest()[:8]}" if changes else ""
    return (head or "unknown") + mark


def facts(place: Place) -> Dict[str, str]:
    """All of it, by name, in words."""
    found = {"card": "none, a DRY RUN on a CPU", "driver": "", "cuda": str(torch.version.cuda)}
    if not place.dry_run:
        found["card"] = _said(sys.executable, "-c", CARD) or "unknown"
        found["driver"] = _said("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader").partition("\n")[0]
    return {
        **found,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "modprompt": __version__,
        "commit": commit(ROOT),
        "official": commit(Path(place.reference)) if place.reference else "not measured",
    }
