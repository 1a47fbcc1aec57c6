"""Programs started by a process that has imported what takes longest, and is nobody's to mend: most of a short run.

Each is a fork of it, with the folder, environment, module path and words that `python WORDS` would have.
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

_LOOK_S = 0.005


class Warm:
    """The process that starts programs, one at a time.

    Args:
        python: the interpreter.
        environment: of the process; programs have their own, but for what Python reads when it starts.
    """

    def __init__(self, python: str, environment: Mapping[str, str]):
        kept = {key: value for key, value in environment.items() if key != "PYTHONPATH"}
        command = [python, "-u", __file__]
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
            words: its program or -m MODULE, and what follows.
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
    path = asked["environment"].get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:] = [asked["folder"], *filter(None, path), *sys.path[1:]]
    is_module = asked["words"][0] == "-m"
    sys.argv[:] = asked["words"][is_module:]
    if is_module:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    import sklearn.metrics  # noqa: F401
    import torch.utils.tensorboard  # noqa: F401
    import torchvision.transforms  # noqa: F401

    _what = _asked()
    if _what is not None:
        _become(_what)
