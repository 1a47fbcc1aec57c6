"""A worker process that stays: it receives tasks and answers with their results, as lines of JSON over a socket.

The process is `python -m modprompt.cli.warm`, which imports once what all its runs need.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from modprompt.experiments.running.worker import FAILED, Task, has_ended


class Channel:
    """One end of a socket, over which plain values are sent.

    Args:
        connection: the end, which blocks.
    """

    def __init__(self, connection: socket.socket):
        self.connection = connection
        self._read = b""

    def send(self, content: Mapping[str, Any]) -> None:
        """Send a value.

        Raises:
            OSError: if the other end is closed.
        """
        self.connection.sendall(json.dumps(content).encode() + b"\n")

    def receive(self, waits: bool = True) -> Any:
        """The next value; None if there is none and `waits` is false.

        Raises:
            EOFError: if no more will come.
        """
        while b"\n" not in self._read:
            try:
                part = self.connection.recv(65536, 0 if waits else socket.MSG_DONTWAIT)
            except BlockingIOError:
                return None
            except OSError:  # the other end was killed, or this one is closed
                part = b""
            if not part:
                raise EOFError
            self._read += part
        line, _, self._read = self._read.partition(b"\n")
        return json.loads(line)

    def wait(self) -> None:
        """Wait until there is something to receive, or no more will come."""
        select.select([self.connection], [], [])


class WorkerProcess:
    """A process that runs one task after the other.

    Args:
        words: flags of modprompt.cli.warm.
        environment: its environment and that of its runs.
    """

    def __init__(self, words: list[str], environment: Mapping[str, str]):
        ours, theirs = socket.socketpair()
        self.channel = Channel(ours)
        self.notes: list[str] = []  # its messages to the runner
        with theirs:
            # its own session: Ctrl-C reaches only the runner, which ends its runs in order
            self.process = subprocess.Popen(
                [sys.executable, "-m", "modprompt.cli.warm", *words],
                stdin=theirs.fileno(),
                env=environment,
                start_new_session=True,
            )

    def ended(self) -> bool:
        """Whether the process has ended; it is not reaped, so that its number stays that of its group."""
        return has_ended(self.process.pid, 0.0)

    def ask(self, task: Task) -> bool:
        """Send a task; returns whether there was a process to receive it."""
        with contextlib.suppress(OSError):
            if not self.ended():
                self.channel.send(task._asdict())
                return True
        return False

    def answer(self) -> int | None:
        """The task's exit code: DONE, FAILED or BUSY; None while it is running."""
        ended = self.ended()  # checked first: then its last message is there
        try:
            while content := self.channel.receive(waits=False):
                if "code" in content:
                    return int(content["code"])
                self.notes.append(content["note"])
        except EOFError:
            return FAILED
        return FAILED if ended else None

    def signal(self, number: int) -> None:
        """Send a signal to the process and its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def end(self) -> None:
        """Kill what is left of the process and its children."""
        self.signal(signal.SIGKILL)
        self.leave()

    def leave(self) -> None:
        """Reap a process that has ended; a run that it left goes on."""
        self.process.wait()
        self.channel.connection.close()
