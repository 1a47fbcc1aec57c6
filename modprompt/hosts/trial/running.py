"""MPL tried in a codebase: its own train.py trains one epoch and tests, in processes of their own, on made-up data.

Two ways, side by side: by the launcher, and as after an installation, whose import line is put into a copy of train.py.
All that a run reads and writes lies in a temporary folder. What comes of it is judged in verdict.py.
"""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence

from modprompt import places
from modprompt.errors import UserError
from modprompt.hosts.program import asks_of, named_in
from modprompt.hosts.train_line import has_line, with_line
from modprompt.hosts.trial import program as trial_program
from modprompt.hosts.trial.made_up import World
from modprompt.hosts.trial.verdict import Ran, Verdict, cannot, judge, untried

LAUNCHER, INSTALLER, OWN = "launcher", "installer", "trial"  # ways, as the report names them
_TAIL = 20_000  # characters of what a run says that are looked at


class Place(NamedTuple):
    """What is tried.

    folder: of the codebase; of this project, or any, where there is none.
    trainer: name of our trainer in it.
    installed: whether MPL is installed in it.
    until: time.monotonic() at which all must be over.
    """

    folder: Path
    trainer: str
    installed: bool
    until: float


def try_out(place: Place, ways: Sequence[str]) -> Dict[str, Verdict]:
    """What came of it, by way."""
    try:
        with tempfile.TemporaryDirectory(prefix="modprompt-doctor-") as work, ThreadPoolExecutor(len(ways)) as pool:
            processes = _Processes(place.until)
            try:
                here = Path(work).resolve()
                tried = {way: pool.submit(_try, way, place, here / way, processes) for way in ways}
                return {way: one.result() for way, one in tried.items()}
            finally:
                processes.end()  # those of a trial that was interrupted
    except OSError as error:
        where = f"{tempfile.gettempdir()}: {error.strerror or error}"
        return {way: untried(f"the made-up data cannot be written in {where}", ["set TMPDIR"]) for way in ways}


def _try(way: str, place: Place, work: Path, processes: "_Processes") -> Verdict:
    try:
        verdict = _tried(way, place, work, processes)
    except UserError as error:  # train.py is no Python, or imports nothing
        return cannot(str(error), [])
    shadowed = _shadowed(place.folder) if way == INSTALLER and is_in_the_way(place) else ""
    if not shadowed:
        return verdict
    note = f"take {places.ROOT} off PYTHONPATH then: its {shadowed}/ wins over the codebase's, which has no __init__.py"
    return verdict._replace(advice=[*verdict.advice, note])


def _tried(way: str, place: Place, work: Path, processes: "_Processes") -> Verdict:
    """Train, on the codebase's own reader of EuroSAT if it has one, else on a made-up data set; then test by a flag."""
    trial = _Trial(way, place, work, processes)
    configs = places.configs() / "datasets" if way == OWN else place.folder / "configs" / "datasets"
    found = [*configs.glob("eurosat.yaml"), *sorted(configs.glob("**/eurosat.yaml"))]
    first = trial.train(found[0], named_in(found[0])) if found else None
    if first is not None and not first.stops_in_its_reader:
        trained, reader = first, None
    else:
        trained, reader = trial.train(None, trial_program.MADE_UP), first
    has_flag = way == OWN or b"eval-only" in (place.folder / "train.py").read_bytes()
    return judge(trained, trial.test() if trained.went_well and has_flag else None, reader)


def is_in_the_way(place: Place) -> bool:
    """Whether this is a checkout, which has folders of the family's names, and which an installation does without."""
    return places.is_checkout() and not place.installed


def _shadowed(folder: Path) -> str:
    """The folder of a codebase that one of a checkout on PYTHONPATH wins over; empty if there is none."""
    path = [os.path.realpath(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    if str(places.ROOT) not in path:
        return ""
    bare = [name for name in ("trainers", "datasets") if (folder / name).is_dir()]
    return next((name for name in bare if not (folder / name / "__init__.py").is_file()), "")


class _Trial:
    """A way in a codebase, and what its runs share."""

    def __init__(self, way: str, place: Place, work: Path, processes: "_Processes"):
        work.mkdir()
        self.way, self.place, self.work, self.processes, self.runs = way, place, work, processes, 0
        self.program = place.folder / "train.py"
        if way == INSTALLER and not has_line(self.program.read_bytes()):
            content = with_line(self.program.read_bytes())
            self.program = work / "train_with_line.py"
            self.program.write_bytes(content)
        self.words: List[str] = []
        self.made_up = False

    def train(self, data_config: Optional[Path], dataset: str) -> Ran:
        """One epoch and a test in a world of its own."""
        here = self.work / dataset
        here.mkdir()
        self.world, self.made_up = World(here), data_config is None
        config = data_config or self.world.set_config
        if self.way == OWN:
            self.words = self.world.words(self.place.trainer, config, (), ())
            return self._run(self.words, ())
        asks = asks_of(self.place.folder, self.place.trainer, "base2new", dataset)
        self.words = self.world.words(asks.trainer, config, asks.flags, asks.options)
        return self._run(self.words, asks.unknown)

    def test(self) -> Ran:
        """--eval-only of what was trained last."""
        return self._run(self.world.test_words(self.words), ())

    def _run(self, words: List[str], unknown: Sequence[str]) -> Ran:
        self.runs += 1
        record, spec = (self.work / f"{name}{self.runs}.json" for name in ("record", "spec"))
        content = {
            "way": self.way,
            "folder": str(self.place.folder),
            "package": str(places.PACKAGE),
            "installed": self.place.installed,
            "program": str(self.program),
            "words": words,
            "record": str(record),
            "near": self._near(),
            "without": str(places.ROOT) if self.way == INSTALLER and is_in_the_way(self.place) else "",
        }
        spec.write_text(json.dumps(content))
        said = self.work / f"said{self.runs}.txt"
        code = self._start(spec, said)
        seen = json.loads(record.read_text()) if record.is_file() else {}
        text = said.read_text(errors="replace")[-_TAIL:]
        return Ran(self.way, self.place.folder, self.work, code, seen, text, self.made_up, tuple(unknown))

    def _near(self) -> List[str]:
        """Folders whose files' imports are the codebase's: its own, and Dassl's."""
        spec = importlib.util.find_spec("dassl")
        found = [str(self.place.folder), *(spec.submodule_search_locations or [] if spec else [])]
        return [os.path.realpath(folder) for folder in found]

    def _start(self, spec: Path, said: Path) -> Optional[int]:
        """Exit code; None if it was stopped because the time is over."""
        command = [sys.executable, str(Path(trial_program.__file__).resolve()), str(spec)]
        return self.processes.run(command, self.place.folder if self.way != OWN else self.work, said)


class _Processes:
    """The processes of a trial; none outlives it.

    Args:
        until: time.monotonic() at which all must be over.
    """

    def __init__(self, until: float):
        self._until, self._running, self._lock = until, set(), threading.Lock()  # type: ignore[var-annotated]

    def run(self, command: List[str], folder: Path, said: Path) -> Optional[int]:
        """Exit code of a program, with all that it has started; None if it was stopped because the time is over."""
        with said.open("wb") as file:
            with self._lock:
                process = subprocess.Popen(
                    command,
                    cwd=str(folder),
                    env=_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
                self._running.add(process)
            try:
                return process.wait(max(0.1, self._until - time.monotonic()))
            except subprocess.TimeoutExpired:
                return None
            finally:
                _end(process)

    def end(self) -> None:
        """Stop all, and let none go on for long."""
        with self._lock:
            self._until = 0.0
            for process in self._running:
                _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """No process that a run has started outlives it."""
    try:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    except OSError:  # all have ended
        pass
    process.wait()


def _environment() -> Dict[str, str]:
    """That of the user, but nothing is written beside the code, sent, or shown, and no setting of scripts is left."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MODPROMPT_")}
    said = {"PYTHONDONTWRITEBYTECODE": "1", "WANDB_MODE": "disabled", "MPLBACKEND": "Agg", "PYTHONIOENCODING": "utf-8"}
    return {"OMP_NUM_THREADS": "1", **kept, **said}
