"""Kill an experiment at random moments, runner and all, and compare its report with an undisturbed run's.

    python -m tests.modprompt.experiments.kills digits FOLDER --kills 5

FOLDER/undisturbed is run first if it is not finished. Prints what was killed, and ends with 1 if a byte of a report's
tables or figures differs.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import ROOT

MOST_S = 25.0  # the latest moment of a kill behind a start


def _opened(folder: Path) -> Iterator[str]:
    """The files that a process has open."""
    for file in folder.iterdir():
        with contextlib.suppress(OSError):  # it is closed again
            yield str(file.readlink())


def processes_of(out: Path) -> list[int]:
    """All processes at work on an output folder: runner, the server that forks its runs, these, and their loaders.

    The runner's command line names the folder, a run has files open there, and the server is the runner's child.
    """
    found, children = [], []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                if any(str(out) in word for word in (*words, *_opened(entry / "fd"))):
                    found.append(int(entry.name))
                elif "multiprocessing.forkserver" in " ".join(words):
                    parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                    children.append((parent, int(entry.name)))
    return found + [pid for parent, pid in children if parent in found]


def kill_all(out: Path) -> int:
    """SIGKILL to all of them until none is left; how many there were."""
    killed: set[int] = set()
    while there := processes_of(out):
        for pid in there:
            killed.add(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
        for pid in list(there):
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
    return len(killed)


def all_ended(out: Path) -> bool:
    """Whether no process is left, or none soon: a run whose runner was killed ends by itself."""
    end = time.monotonic() + 300
    while processes_of(out) and time.monotonic() < end:
        time.sleep(0.2)
    return not processes_of(out)


def _with_interrupts() -> None:
    """In the child: a shell has what it starts in the background ignore Ctrl-C, and a runner keeps to that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def start(name: str, out: Path, *more: str) -> subprocess.Popen:
    """A runner of an experiment, its words going to a file."""
    places = ("--out", str(out), "--data", str(out.parent / "data"))
    words = [sys.executable, "-m", "experiments.run", name, *places, *more]
    out.mkdir(parents=True, exist_ok=True)
    with (out / "runner.txt").open("ab") as console:
        return subprocess.Popen(words, cwd=ROOT, stdout=console, stderr=subprocess.STDOUT, preexec_fn=_with_interrupts)


_COST = re.compile(
    rb"## Cost\n.*?(?=\n## |\nMissing |\nCLIP models|\Z)|<h2[^>]*>Cost</h2>.*?(?=<h2)"
    rb'|<img alt="[^"]*, over the training time in seconds[^>]*>',
    re.DOTALL,
)


def report(name: str, out: Path, *more: str) -> dict[str, bytes]:
    """The files of an experiment's report, without what runs cost: seconds are never the same."""
    words = [sys.executable, "-m", "experiments.report", name, "--out", str(out), *more]
    subprocess.run(words, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    files = sorted((out / "reports" / Path(name).stem).iterdir())
    return {path.name: _COST.sub(b"", path.read_bytes()) for path in files if not path.name.startswith("cost.")}


def disturbed(name: str, out: Path, kills: int) -> None:
    """Run an experiment to its end, killed so often, each time within MOST_S seconds of its start."""
    for number in range(kills):
        moment = random.uniform(2.0, MOST_S)
        runner = start(name, out)
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = runner.wait(moment)
            print(f"kill {number + 1}: over before {moment:.1f} s (exit code {code})")
            continue
        print(f"kill {number + 1}: after {moment:.1f} s, {kill_all(out)} processes", flush=True)
        runner.wait()
    assert start(name, out).wait() == 0, f"see {out}/runner.txt"


def main() -> int:
    """1 if the reports differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="experiment")
    parser.add_argument("folder", type=Path, help="where both runs go")
    parser.add_argument("--kills", type=int, default=5)
    args = parser.parse_args()
    whole, killed = args.folder.absolute() / "undisturbed", args.folder.absolute() / "killed"
    began = time.monotonic()
    assert start(args.name, whole).wait() == 0, f"see {whole}/runner.txt"
    print(f"undisturbed: {time.monotonic() - began:.0f} s", flush=True)
    disturbed(args.name, killed, args.kills)
    one, other = report(args.name, whole), report(args.name, killed)
    differing = sorted(name for name in set(one) | set(other) if one.get(name) != other.get(name))
    print(f"report: {len(one)} files, differing: {', '.join(differing) or 'none'}")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
