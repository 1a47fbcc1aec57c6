"""One file to send: the table, the figure and all records. Records name no folders and no user, see records.py."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.gpu.records import Record
from modprompt.io.files import part_of

NAME = "gpu.zip"


def pack(records: Sequence[Record], folder: Path) -> Path:
    """Write it next to the records; its path."""
    path = folder / NAME
    with part_of(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("records.json", json.dumps([record.content() for record in records], indent=1))
        for name in ("gpu.md", "gpu.png"):
            if (folder / name).is_file():
                archive.writestr(name, (folder / name).read_bytes())
    return path
