"""Programs started by a process that has imported what takes longest, and is nobody's to mend: most of a short run.

Each is a fork of it, with the folder, environment, module path and words that `python WORDS` would have; it imports all
of modprompt, Dassl and `clip` itself. What is about the start of an interpreter is started by `subprocess` alone.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import random
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

_LOOK_S = 0.005


IMPORTS = "import sklearn.metrics, torchvision.transforms"


class Warm:
    """The process that starts programs, one at a time.

    Args:
        python: the interpreter.
        environment: of the process; programs have their own, but for what Python reads when it starts.
        first: Python code, which imports what takes long.
    """

    def __init__(self, python: str, environment: Mapping[str, str], first: str = IMPORTS):
        kept = {key: value for key, value in environment.items() if key != "PYTHONPATH"}
        command = [python, "-u", __file__, first]
        self._server = subprocess.Popen(
            command, env=kept, cwd=os.sep, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def run(
        self,
        words: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        files: Sequence[Path],
        is_over: Callable[[], bool],
    ) -> int:
        """Exit code of `python WORDS`; minus the signal that ended it.

        Args:
            words: its program, -m MODULE or -c CODE, and what follows.
            folder: where it runs.
            environment: all of it.
            files: what get its output and its errors.
            is_over: asked again and again: whether to kill it now.
        """
        asked = {"words": [*words], "folder": str(folder), "environment": {**environment}, "files": [*map(str, files)]}
        to, answers = self._server.stdin, self._server.stdout
        assert to is not None
        assert answers is not None
        to.write(f"{json.dumps(asked)}\n".encode())
        pid = int(answers.readline())
        while not select.select([answers], [], [], _LOOK_S)[0]:
            if is_over():
                with contextlib.suppress(ProcessLookupError):  # it has ended by itself
                    os.kill(pid, signal.SIGKILL)
        return int(answers.readline())

    def close(self) -> None:
        """End the process."""
        self._server.kill()
        self._server.communicate()


@functools.cache
def kept(first: str = IMPORTS, own: tuple[tuple[str, str], ...] = ()) -> Warm:
    """The one of this process, with variables of its own in its environment."""
    made = Warm(sys.executable, {**os.environ, **dict(own)}, first)
    atexit.register(made.close)
    return made


def run_python(
    *words: Any,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    seconds: float = 300,
    by: Warm | None = None,
) -> subprocess.CompletedProcess:
    """What `subprocess.run([sys.executable, *words])` gives, its output as text.

    Args:
        words: its program, -m MODULE or -c CODE, and what follows.
        folder: where it runs.
        environment: all of it, or that of this process.
        seconds: after which it is killed, and subprocess.TimeoutExpired raised.
        by: what starts it, if that is another than `kept()`.
    """
    texts, end = [*map(str, words)], time.monotonic() + seconds
    given = os.environ if environment is None else environment

    with tempfile.TemporaryDirectory() as scratch:
        files = [Path(scratch, name) for name in ("out", "err")]
        code = (by or kept()).run(texts, folder, given, files, lambda: time.monotonic() > end)
        said = [file.read_text() for file in files]
    if code == -signal.SIGKILL and time.monotonic() > end:
        raise subprocess.TimeoutExpired(texts, seconds, *said)
    return subprocess.CompletedProcess(texts, code, *said)


def _asked() -> Any:
    """In a fork: what it is to be. In the process itself: nothing, when nobody asks any more."""
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            return json.loads(line)
        print(pid)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    return None


def _become(asked: Mapping[str, Any]) -> None:
    """Run what is asked for, which ends as Python has it end."""
    for number, name in enumerate([os.devnull, *asked["files"]]):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT), number)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    random.seed()  # as every start does
    how, words = asked["words"][0], asked["words"]
    first = {"-m": asked["folder"], "-c": ""}.get(how, os.path.dirname(os.path.abspath(how)))  # noqa: PTH100, PTH120
    path = asked["environment"].get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:] = [first, *filter(None, path), *sys.path]
    sys.argv[:] = ["-c", *words[2:]] if how == "-c" else words[how == "-m" :]
    if how == "-c":
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(words[1], "<string>", "exec"), vars(main))
    elif how == "-m":
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    del sys.path[0]  # the folder of this file
    exec(sys.argv[1])
    _what = _asked()
    if _what is not None:
        _become(_what)
