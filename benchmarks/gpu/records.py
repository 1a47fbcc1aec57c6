"""What finished cases found, a JSON file each, beside what it was found on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional

from benchmarks.gpu.task import Found, Row, Task, rows_of
from modprompt.storage.text import write_json


class Record(NamedTuple):
    """A case that has run: what it found, or the last line of why not."""

    task: Task
    facts: Mapping[str, str]
    found: Optional[Found]
    error: str
    seconds: float

    @property
    def rows(self) -> List[Row]:
        """Its rows of the table; of a case that failed one that says so."""
        if self.found is None:
            return [Row(self.task.name, "failed", "", self.error)]
        return list(self.found.rows)


class Records:
    """The records in a folder that were made on the same card, versions and commit.

    Args:
        folder: with a file for each case.
        facts: of now.
    """

    def __init__(self, folder: Path, facts: Mapping[str, str]):
        self.folder, self.facts = folder, dict(facts)

    def path(self, task: Task, suffix: str = ".json") -> Path:
        """The file of a case."""
        return self.folder / f"{task.name}{suffix}"

    def read(self, task: Task) -> Optional[Record]:
        """What a case found; None if it has not run under these facts, or its file is no such record."""
        try:
            content: Dict[str, Any] = json.loads(self.path(task).read_text(encoding="utf-8"))
            if content["facts"] != self.facts or content["task"] != task._asdict():
                return None
            found = content["found"]
            found = found and Found(rows_of(found["rows"]), found["numbers"])
            return Record(task, content["facts"], found, content["error"], content["seconds"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, record: Record) -> None:
        """Keep a record, whole."""
        found = record.found and {"rows": [list(row) for row in record.found.rows], "numbers": record.found.numbers}
        write_json(self.path(record.task), {**record._asdict(), "task": record.task._asdict(), "found": found})
