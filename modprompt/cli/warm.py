"""A worker process of experiments that stays, and forks runs from what it imported once; local.py starts it.

The standard library's forkserver would not do: a run would be the server's child, but the worker must be its parent to
kill it, and to know what ended it. Here the worker itself forks.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import BinaryIO

from modprompt import places
from modprompt.cli.fork import fork
from modprompt.cli.imported import Imported
from modprompt.errors import UserError
from modprompt.experiments.running.service import Channel
from modprompt.experiments.running.worker import FAILED, Child, Task, Worker, spawn


class Service:
    """Runs the tasks from a channel, one after the other.

    Args:
        channel: where they come from.
        cold: whether nothing is forked.
    """

    def __init__(self, channel: Channel, cold: bool):
        self.channel, self.cold = channel, cold
        self.imported = Imported()

    def start(self, words: Sequence[str], environment: Mapping[str, str], console: BinaryIO) -> Child:
        """Start a run's command, forked if it can be; see worker.Start."""
        program = places.program()
        if self.cold or list(words[: len(program) + 1]) != [*program, "train"]:
            return spawn(words, environment, console)
        why = self.imported.why_not()
        if why:
            self.note(f"each run starts with its own imports: {why}")
            return spawn(words, environment, console)
        return fork(program[-1], words[len(program) :], environment, console, self.imported.said)

    def note(self, text: str) -> None:
        """Send a message for the user, if the other end is there."""
        with contextlib.suppress(OSError):
            self.channel.send({"note": text})

    def run(self) -> str:
        """Run tasks until the other end is gone, or until a file has changed before the next task; which file."""
        while True:
            self.channel.wait()
            changed = self.imported.changed()
            if changed:
                return changed
            try:
                fields = self.channel.receive()
                self.channel.send({"code": self._result(Task(**{**fields, "command": tuple(fields["command"])}))})
            except (EOFError, OSError):  # the other end is gone
                return ""

    def _result(self, task: Task) -> int:
        try:
            return Worker(task, self.start).run()
        except (UserError, OSError) as error:  # not even a message can be written in the run's folder
            print(f"error: {error}", file=sys.stderr)
            return FAILED


def _serve(args: argparse.Namespace) -> str:
    try:
        connection = socket.socket(fileno=sys.stdin.fileno())
    except OSError:
        raise UserError("standard input is not a socket: `modprompt experiment run` starts this program") from None
    try:
        service = Service(Channel(connection), args.cold)
        if args.note:
            service.note(args.note)
        return service.run()
    finally:
        connection.detach()


def main(argv: list[str] | None = None) -> int:
    """Run the tasks from standard input, which must be a socket; 0, or 2 after a message if it is not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cores", default="", help="cores to run on, e.g. 0,1")
    parser.add_argument("--cold", action="store_true", help="start every run as a separate program")
    parser.add_argument("--out", default="", help="the output folder, shown in lists of processes")
    parser.add_argument("--note", default="", help="a message to send first")
    args = parser.parse_args(argv)
    if args.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core) for core in args.cores.split(",")})
    try:
        changed = _serve(args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if changed:  # the next process, with the same number and socket, runs the waiting task
        flags = ["--cores", args.cores, "--out", args.out, "--note", f"{changed}: runs import it anew"]
        os.execv(sys.executable, [sys.executable, "-m", "modprompt.cli.warm", *flags])
    return 0


if __name__ == "__main__":
    sys.exit(main())
