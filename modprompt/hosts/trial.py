"""Try MPL in a codebase: one epoch and a test on made-up data, as its user would run them, in separate processes.

The ways: our program with its readers (--host), its program by the launcher, and its program alone if it has the import
line. All that a run reads and writes is in a temporary folder.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from modprompt import places
from modprompt.hosts import synthetic_data
from modprompt.hosts.codebase import PROGRAM, our_trainer
from modprompt.hosts.launch import NO_DASSL
from modprompt.hosts.rows import with_rows

WELL, CANNOT, UNTRIED = 0, 1, 2  # exit codes
HOST, LAUNCHER, LINE, OWN = "--host", "launcher", PROGRAM, "trial"  # ways, as the report names them
_SET = "modprompt.hosts.synthetic_set"
_LAUNCH = f"import sys; from modprompt.hosts.launch import main; sys.exit(main(sys.argv[1:], [{_SET!r}]))"
# a package's name for pip, where it differs from the module's
_PIP = {
    "PIL": "Pillow", "cv2": "opencv-python", "kmeans_pytorch": "kmeans-pytorch", "open_clip": "open_clip_torch",
    "ot": "POT", "pkg_resources": '"setuptools<70"', "skimage": "scikit-image", "sklearn": "scikit-learn",
    "yaml": "PyYAML",
}  # fmt: skip
_ERROR = re.compile(
    r"^(?:\S*py: )?(?:error: (.+)|((?:[A-Za-z_]+\.)*[A-Z][A-Za-z]*(?:Error|Exception|Exit|Interrupt)\b.*))$"
)
_TOLD = re.compile(r"^(?:note: |kept: |\S+ of this codebase is left out)")
_TAIL = 20_000  # characters of a run's output that are read


class Verdict(NamedTuple):
    """An entry of the report: the outcome, what to do or know, and the exit code."""

    state: str
    advice: list[str]
    code: int


class _Ran(NamedTuple):
    """A run that has ended: its exit code (None if time ran out), and the end of its output."""

    code: int | None
    said: str

    @property
    def why(self) -> str:
        """What ended it, as one message."""
        found = [match for match in map(_ERROR.match, self.said.splitlines()) if match]
        if self.code is not None and self.code < 0:
            return f"signal {-self.code} ended it"
        line = (found[-1].group(1) or found[-1].group(2)) if found else f"exit code {self.code}"
        return line if len(line) <= 200 else f"{line[:197]}..."

    @property
    def has_tested(self) -> bool:
        """Whether it finished a test."""
        return "* accuracy:" in self.said

    @property
    def told(self) -> list[str]:
        """Its messages on settings that its program changed, and on what it left out."""
        return list(dict.fromkeys(line for line in self.said.splitlines() if _TOLD.match(line)))


def try_out(folder: Path | None, ways: Sequence[str], until: float) -> dict[str, Verdict]:
    """The outcome of each way.

    Args:
        folder: of the codebase; None for none.
        ways: to try, at the same time.
        until: time.monotonic() by which all must have ended.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="modprompt-doctor-") as work, ThreadPoolExecutor(len(ways)) as pool:
            processes = _Processes(until)
            try:
                here = Path(work).resolve()
                tried = {
                    way: pool.submit(_Trial(way, folder, here / way.strip("-"), processes).verdict) for way in ways
                }
                return {way: one.result() for way, one in tried.items()}
            finally:
                processes.end()  # those of a trial that was interrupted
    except OSError as error:
        where = f"{tempfile.gettempdir()}: {error.strerror or error}"
        state = f"could not be tried: the made-up data cannot be written in {where}"
        return {way: Verdict(state, ["set TMPDIR"], UNTRIED) for way in ways}


class _Trial:
    """The trial of one way in a codebase."""

    def __init__(self, way: str, folder: Path | None, work: Path, processes: "_Processes"):
        self.way, self.folder, self.work, self.processes = way, folder, work, processes
        self.trainer = our_trainer(folder) if folder is not None and way != HOST else "MPL"

    def verdict(self) -> Verdict:
        """On its own reader of EuroSAT if it has one; if that refuses the images, on a data set of ours."""
        self.work.mkdir()
        synthetic_data.write(self.work)
        config = self._eurosat()
        if config and self.way in (HOST, LAUNCHER):
            first = self._tried(config, "eurosat")
            if first.code != CANNOT:
                return first
            second = self._tried(str(self.work / "made_up.yaml"), "made_up")
            why = first.state.partition("cannot run: ")[2]
            note = f"its own reader of EuroSAT does not accept made-up images: {why}"
            return second._replace(advice=[note, *second.advice]) if second.code == WELL else first
        if not config and self.way == LINE:
            return Verdict("not tried: the codebase has no configs/datasets/eurosat.yaml", [], UNTRIED)
        return self._tried(config or str(self.work / "made_up.yaml"), "run")

    def _eurosat(self) -> str:
        configs = places.configs() if self.folder is None else self.folder / "configs"
        found = sorted((configs / "datasets").glob("**/eurosat.yaml"), key=lambda path: len(path.parts))
        return str(found[0]) if found else ""

    def _tried(self, config: str, name: str) -> Verdict:
        """Train, then test by --eval-only."""
        trained, tested = self.work / name, self.work / f"{name}_tested"
        ran = self._run(synthetic_data.words(self.work, trained, self.trainer, config), trained)
        if ran.code is None:
            return Verdict("not tried: time ran out", ["allow more: --seconds 300"], UNTRIED)
        if ran.code or not ran.has_tested:
            return Verdict(f"MPL cannot run: {ran.why}", self._advice(ran), CANNOT)
        words = synthetic_data.words(self.work, tested, self.trainer, config)
        again = self._run(["--eval-only", "--model-dir", str(trained), "--load-epoch", "1", *words], tested)
        if again.code is None:
            return Verdict("MPL trains; not tested: time ran out", ["allow more: --seconds 300"], UNTRIED)
        if again.code or not again.has_tested:
            return Verdict(
                f"MPL cannot run: it trains, but --eval-only does not: {again.why}", self._advice(again), CANNOT
            )
        return Verdict("MPL trains and tests", ran.told, WELL)

    def _advice(self, ran: _Ran) -> list[str]:
        missing = re.search(r"No module named '([^'.]+)", ran.why)
        name = missing.group(1) if missing else ""
        is_there = self.folder is not None and any((self.folder / one).exists() for one in (name, f"{name}.py"))
        if not name or is_there:
            return ran.told
        if name == "dassl":  # no package of PyPI
            return [*ran.told, *([] if NO_DASSL in ran.why else [NO_DASSL])]
        return [*ran.told, f"pip install {_PIP.get(name, name)}"]

    def _run(self, words: list[str], out: Path) -> _Ran:
        if self.way == OWN or self.folder is None:
            command, folder = places.program("train", *words), self.work
        elif self.way == HOST:
            command, folder = places.program("train", "--host", str(self.folder), "--import", _SET, *words), self.work
        else:
            folder = self.folder
            if self.way == LAUNCHER:
                command = [sys.executable, "-c", _LAUNCH, PROGRAM, *words, "--keep-settings"]
            else:
                more = with_rows(words, self.folder / PROGRAM, self.trainer).words
                command = [sys.executable, PROGRAM, *more, "--keep-settings"]
        said = self.work / "said.txt"
        code = self.processes.run(command, folder, said, self.way != LINE)
        texts = [path.read_text(errors="replace")[-_TAIL:] for path in (*out.glob("**/log.txt*"), said)]
        return _Ran(code, "\n".join(texts).replace(str(self.work), "TEMP"))  # some write all into a log


class _Processes:
    """The processes of a trial; none outlives it.

    Args:
        until: time.monotonic() by which all must have ended.
    """

    def __init__(self, until: float):
        self._until, self._lock = until, threading.Lock()
        self._running: list[subprocess.Popen[bytes]] = []

    def run(self, command: list[str], folder: Path, said: Path, is_ours: bool) -> int | None:
        """Run a program to its end, then end all that it started; its exit code, or None if time ran out.

        Args:
            command: its words.
            folder: in which it runs.
            said: the file for its output.
            is_ours: whether this very package must be imported, whatever that folder holds.
        """
        with said.open("wb") as file:
            with self._lock:
                process = subprocess.Popen(
                    command,
                    cwd=str(folder),
                    env=_environment(is_ours),
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
                self._running.append(process)
            try:
                return process.wait(max(0.1, self._until - time.monotonic()))
            except subprocess.TimeoutExpired:
                return None
            finally:
                _end(process)

    def end(self) -> None:
        """End all, and let later ones run for a moment at most."""
        with self._lock:
            self._until = 0.0
            for process in self._running:
                _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a run and all processes that it has started."""
    try:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    except OSError:  # all have ended already
        pass
    process.wait()


def _environment(is_ours: bool) -> dict[str, str]:
    """The user's, but no bytecode is written, nothing is sent or shown, and variables of the scripts are dropped."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MODPROMPT_")}
    said = {"PYTHONDONTWRITEBYTECODE": "1", "WANDB_MODE": "disabled", "MPLBACKEND": "Agg", "PYTHONIOENCODING": "utf-8"}
    ours = places.environment() if is_ours else {}
    return {"OMP_NUM_THREADS": "1", **kept, **said, **ours}
