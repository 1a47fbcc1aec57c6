"""All that the check does in one codebase, and what came of it."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple, Sequence

from tests.conftest import ROOT
from tests.hosts import own
from tests.hosts.bench import CLASSES, EPOCHS, MODEL, Bench, Desk, Run, Way, difference, other_tensors
from tests.hosts.table import KEEP, Host

EQUAL = "equal"
WAYS = ("launcher", "installer")
KILLED_AT = f"epoch [2/{EPOCHS}] batch [1/"
TRIES = 5  # to kill a run in time
DOCTOR_S = 150  # its limit where several checks share a machine; 55 is what it takes by itself
TOLD = r"\b([A-Z][A-Z0-9_]*\.[\w.]+): asked "


class Said(NamedTuple):
    """What the doctor said: its exit code, the state of each way ("" if the line is not there), its seconds.

    stood_in: whether what the host asks for was there; installed: whether MPL was.
    """

    stood_in: bool
    installed: bool
    code: int
    launcher: str
    installer: str
    seconds: int


def read_doctor(stood_in: bool, installed: bool, code: int, out: str, seconds: float) -> Said:
    """A report of the doctor."""
    found = [re.search(rf"^{way}[ \t]+(\S.*)$", out, re.MULTILINE) for way in WAYS]
    launcher, installer = (one[1].strip() if one else "" for one in found)
    return Said(stood_in, installed, code, launcher, installer, round(seconds))


def wrong(said: Said, happened: dict[str, str]) -> str:
    """What of the doctor's words is not what happened ("" if all is). happened: by way, "" if MPL trained and tested.

    What "could not be tried" is no verdict, and so not a wrong one; its exit code must say so too.
    """
    faults, verdicts = [], {"launcher": said.launcher, "installer": said.installer}
    for way, state in verdicts.items():
        if state.startswith("could not be tried"):
            continue
        if state.startswith("MPL trains and tests") != (not happened[way]) or not state:
            faults.append(f"{way}: said '{state}', happened: {happened[way] or 'it did'}")
    used = verdicts["installer" if said.installed else "launcher"]
    code = 2 if used.startswith("could not be tried") else int(not used.startswith("MPL trains and tests"))
    if said.code != code:
        faults.append(f"exit code {said.code} in place of {code}")
    return "; ".join(faults)


class Visit:
    """The runs in one codebase."""

    def __init__(self, bench: Bench, host: Host, folder: Path, packages: Path):
        """folder: of all checkouts; packages: of the stand-ins."""
        self.bench, self.host = bench, host
        self.top, self.folder = folder / host.checkout, host.folder(folder)
        self.desk = Desk(bench.folder / re.sub(r"\W", "-", f"{host.checkout}-{host.root}"), bench.pictures)
        self.dassl = host.dassl_folder(folder)
        self.stands_in = tuple(packages / name for name in host.asks)

    def path(self, full: bool, ours: bool) -> tuple[Path, ...]:
        """PYTHONPATH: the Dassl, with the stand-ins or without, with this project or without."""
        return (self.dassl, *(self.stands_in if full else ()), *((ROOT,) if ours else ()))

    def way(self, way: str, full: bool) -> Way:
        """How MPL is started."""
        launcher = way == "launcher"
        start = ("-m", "modprompt.launch") if launcher else ()
        host = self.host
        path = self.path(full, launcher)
        return Way(start, self.folder, path, host.trainer, host.dataset_config, host.flags, host.options)

    def trained(self, way: str, full: bool) -> str:
        """What is wrong with a training, or "". What its program changes of what was asked for is told, and nothing else."""
        out = f"{way}-{'full' if full else 'bare'}"
        run = self.bench.train(self.desk, self.way(way, full), "base", out)
        told = sorted({key for key in re.findall(TOLD, run.out, re.MULTILINE)})
        wanted = ["OPTIM.MAX_EPOCH"] if KEEP in self.host.flags else []
        return self.learned(run, out) or ("" if told == wanted else f"told as changed: {told} in place of {wanted}")

    def learned(self, run: Run, out: str, expected: Run | None = None) -> str:
        """What tells a training from ours, the learned tensors included."""
        ours = expected or self.bench.trained
        checkpoints = (
            self.desk.folder / out / MODEL.format(EPOCHS),
            self.bench.desk.folder / "out" / MODEL.format(EPOCHS),
        )
        return difference(run, ours) or other_tensors(*checkpoints)

    def tested(self, way: str, full: bool) -> dict[str, str]:
        """By classes, what is wrong with `--eval-only --model-dir --load-epoch`, or ""."""
        words, found = self.bench.loading(self.desk.folder / f"{way}-{'full' if full else 'bare'}"), {}
        for classes in CLASSES:
            run = self.bench.train(self.desk, self.way(way, full), classes, f"{way}-{classes}", words)
            found[classes] = difference(run, self.bench.tested[classes])
        return found

    def resumed(self, way: str, full: bool) -> str:
        """What is wrong with a run that was killed in its second epoch and started again, or ""."""
        for number in range(TRIES):
            out = f"{way}-killed-{number}"
            killed = self.bench.train(self.desk, self.way(way, full), "base", out, kill_at=KILLED_AT)
            if killed.code == -9 and not (self.desk.folder / out / MODEL.format(EPOCHS)).exists():
                break
            if killed.code != -9:
                return f"before it was killed: {killed.failed or 'it ended'}"
        else:
            return f"was not killed in time, {TRIES} times"
        run = self.bench.train(self.desk, self.way(way, full), "base", out)
        steps = len(self.bench.trained.losses) // EPOCHS
        ours = self.bench.trained._replace(losses=self.bench.trained.losses[steps:])
        return self.learned(run, out, ours)

    def by_scripts(self) -> str:
        """What is wrong with the installed scripts for base to new, or ""."""
        name = "modmpl" if self.host.trainer == "ModMPL" else "mpl"
        dataset = self.host.dataset_config[len("configs/datasets/") : -len(".yaml")]
        more = {"DATA": str(self.desk.folder / "data"), "OUT": str(self.desk.folder / "scripts"), "SHOTS": "4"}
        environment = self.desk.environment(self.path(True, False), PYTHON=self.bench.python, **more)
        keep = [word for word in self.host.flags if word == KEEP]  # the scripts know the host's own words
        self.desk.fresh()
        for script, expected in (("train", self.bench.by_script), ("test", self.bench.tested_by_script)):
            command = ["bash", f"scripts/{name}/base2new_{script}.sh", dataset, 1, *keep, *self.bench.small]
            fault = difference(self.desk.run(command, self.folder, environment), expected)
            if fault:
                return f"base2new_{script}.sh: {fault}"
        return ""

    def doctor(self, full: bool, installed: bool) -> Said:
        """What the doctor says."""
        environment, started = self.desk.environment(self.path(full, not installed)), time.monotonic()
        run = self.desk.run(
            [self.bench.python, "-m", "modprompt.doctor", "--seconds", DOCTOR_S], self.folder, environment
        )
        return read_doctor(full, installed, run.code, run.out, time.monotonic() - started)

    def own(self, out: str) -> Run:
        """One of its own trainers, with all that it asks for."""
        return own.start(self.bench, self.desk, self.host, self.folder, self.path(True, False), out)

    def installer(self, *words: str) -> str:
        """What is wrong with a call of the installer, or ""."""
        command = [sys.executable, "-m", "modprompt.install", self.folder, *words]
        run = self.desk.run(command, ROOT, self.desk.environment([]))
        return f"modprompt.install {' '.join(words)}: {run.error}" if run.code else ""

    def git(self) -> str:
        """What git finds changed, new or ignored in the checkout."""
        return git(self.top, "status", "--porcelain", "--ignored", "--untracked-files=all")


def git(folder: Path, *words: str) -> str:
    """What git prints.

    Raises:
        subprocess.CalledProcessError: if it fails.
    """
    return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout


def shown(faults: Sequence[str]) -> str:
    """Faults in one text."""
    return "; ".join(fault for fault in faults if fault) or EQUAL


def visit(bench: Bench, host: Host, folder: Path, packages: Path) -> dict[str, object]:
    """A row of the results: texts, "equal" where MPL does what it does in this project; the doctor's reports.

    What a host asks for is stood in for with the installer, and with the launcher only where it does not do so itself.
    """
    here, stood_in = Visit(bench, host, folder, packages), (False, True) if host.asks else (True,)
    before, begun = here.git(), here.own("own-before")
    said = [here.doctor(full, False) for full in stood_in]
    happened = {full: {"launcher": here.trained("launcher", full)} for full in stood_in[:1]}
    full = bool(happened[stood_in[0]]["launcher"])  # then it cannot do without
    for more in stood_in[1:]:
        happened[more] = {"launcher": here.trained("launcher", more) if full else ""}
    launched = full or not host.asks
    row: dict[str, object] = {"launcher": shown([happened[launched]["launcher"]])}
    row.update({name: shown([fault]) for name, fault in here.tested("launcher", launched).items()})
    row["resumed"] = shown([here.resumed("launcher", launched)])
    installed = here.installer()
    for full, found in happened.items():
        found["installer"] = installed or here.trained("installer", full)
    row["installer"] = shown([happened[True]["installer"]])
    row["scripts"] = shown([installed or here.by_scripts()])
    said += [] if installed else [here.doctor(True, True)]
    again = here.own("own-after")
    after = EQUAL if own.is_same(begun, again) else own.told(again)
    row["own"] = {"trainer": host.own or host.name, "before": own.told(begun), "after": after}
    taken_out = here.installer("--uninstall")
    row["git"] = taken_out or ("as before" if here.git() == before else "CHANGED: " + _changed(before, here.git()))
    row["without"] = {way: shown([fault]) for way, fault in happened.get(False, {}).items()}
    row["doctor"] = [{**one._asdict(), "wrong": wrong(one, happened[one.stood_in])} for one in said]
    return row


def _changed(before: str, after: str) -> str:
    return ", ".join(sorted(set(after.splitlines()) ^ set(before.splitlines())))[:200]
