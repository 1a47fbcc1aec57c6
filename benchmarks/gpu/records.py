"""What finished cases found, a JSON file for each, with what it was measured on."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.gpu.rows import NOT_HELD, NOT_RUN, Row, not_run, rows_of
from benchmarks.gpu.task import Found, Task
from modprompt.io.files import write_json

_FOLDERS = re.compile(r"(?<![\w.])(?:~|[A-Za-z]:)?(?:[/\\][^/\\\s'\":,;()]+)+[/\\](?=[^/\\\s])")


def nameless(value: Any) -> Any:
    """A JSON value without names of folders and users in its texts."""
    if isinstance(value, str):
        home = Path.home()
        text = _FOLDERS.sub("", value.replace(str(home), "~") if home.name else value)
        return re.sub(rf"\b{re.escape(home.name)}\b", "user", text) if home.name else text
    if isinstance(value, Mapping):
        return {key: nameless(one) for key, one in value.items()}
    return [nameless(one) for one in value] if isinstance(value, (list, tuple)) else value


class Record(NamedTuple):
    """A case that has run: what it found, or why nothing; that begins with NOT_RUN if it is not a fault."""

    task: Task
    facts: Mapping[str, str]
    found: Found | None
    error: str
    seconds: float

    @property
    def rows(self) -> list[Row]:
        """Its rows of the table; for a case that found nothing, one that says why."""
        if self.found is not None:
            return list(self.found.rows)
        if self.error.startswith(NOT_RUN):
            return [not_run(self.task.name, self.error[len(NOT_RUN) + 2 :])]
        return [Row(self.task.name, "it ends well", "failed", NOT_HELD, self.error)]

    def content(self) -> dict[str, Any]:
        """The content of its file."""
        found = self.found and {"rows": [list(row) for row in self.found.rows], "numbers": self.found.numbers}
        content: dict[str, Any] = nameless({**self._asdict(), "found": found})
        return {**content, "task": self.task._asdict(), "facts": dict(self.facts)}  # which are compared


class Records:
    """The records in a folder that were made with the same GPU, versions and sources.

    Args:
        folder: with a file for each case.
        facts: the present ones.
    """

    def __init__(self, folder: Path, facts: Mapping[str, str]):
        self.folder, self.facts = folder, nameless(facts)

    def path(self, task: Task, suffix: str = ".json") -> Path:
        """The file of a case."""
        return self.folder / f"{task.name}{suffix}"

    def read(self, task: Task) -> Record | None:
        """What a case found; None if it has not run under these facts, or its file is not such a record."""
        try:
            content: dict[str, Any] = json.loads(self.path(task).read_text(encoding="utf-8"))
            if content["facts"] != self.facts or content["task"] != task._asdict():
                return None
            found = content["found"]
            found = found and Found(rows_of(found["rows"]), found["numbers"])
            return Record(task, content["facts"], found, content["error"], content["seconds"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, record: Record) -> None:
        """Keep a record, whole."""
        write_json(self.path(record.task), record.content())
