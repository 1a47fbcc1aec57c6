"""Run MPL in real checkouts of the CoOp family, by each way there is, and hold all against this project's own runs.

    python -m tests.hosts.check FOLDER [--only NAME ...] [--packages FOLDER ...]

FOLDER holds the checkouts of tests/hosts/table.py (never committed here). Each gets small pictures laid out as EuroSAT
and a small CLIP with random weights; MPL trains and is tested there by --host and the launcher, trains by the import
line, and the doctor's verdict is held against what happened. A row is printed for each; exit code 1 if one is not as
the table says. Dassl's requirements are installed, or in folders on PYTHONPATH; what programs import beyond those is in
--packages (pip install --target) and is there for the import line, and the doctor, alone.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from modprompt.errors import UserError
from modprompt.hosts.codebase import PROGRAM
from modprompt.hosts.doctor import CANNOT, HOST, LAUNCHER, UNTRIED, WELL
from modprompt.hosts.rows import with_rows
from tests.hosts.bench import EPOCHS, TESTED_EPOCH, Bench, Run, Way, checkpoint, difference, loading, other_tensors
from tests.hosts.table import DASSL, DASSL_COMMIT, HOSTS, KEEP, Host

EQUAL, LINE = "equal", "line"


def chosen(names: Iterable[str]) -> list[Host]:
    """Rows of the table by name or by checkout, all for no name; raises UserError, naming what is not in it."""
    known = {name for host in HOSTS for name in (host.name, host.checkout)}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UserError(f"not in tests/hosts/table.py: {', '.join(unknown)}; it has {', '.join(sorted(known))}")
    return [host for host in HOSTS if not names or {host.name, host.checkout} & {*names}]


def require(folder: Path, hosts: list[Host]) -> None:
    """Raise UserError if a checkout is not there or at another commit, with the commands that make it."""
    wanted = {host.checkout: (host.address, host.commit) for host in hosts}
    if any(not host.dassl for host in hosts):
        wanted[DASSL.split("/")[1]] = (DASSL, DASSL_COMMIT)
    missing = []
    for name, (address, commit) in wanted.items():
        place = folder / name
        if not (place / ".git").exists():
            missing.append(f"git clone https://github.com/{address} {place} && git -C {place} checkout {commit}")
        elif not git(place, "rev-parse", "HEAD").startswith(commit):
            missing.append(f"git -C {place} checkout {commit}")
    if missing:
        raise UserError("first, for the checkouts of the table:\n" + "\n".join(missing))


def git(folder: Path, *words: str) -> str:
    """What git prints; subprocess.CalledProcessError if it fails."""
    return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout


class Visit:
    """The runs in one codebase.

    Args:
        bench: what all runs share.
        host: its row.
        folder: of all checkouts.
        packages: folders with what its program imports by itself, for PYTHONPATH.
    """

    def __init__(self, bench: Bench, host: Host, folder: Path, packages: tuple[Path, ...]):
        self.bench, self.host, self.desk = bench, host, bench.desk(host.name)
        self.top, self.folder = folder / host.checkout, host.folder(folder)
        ours, dassl = bench.folder / "ours", host.dassl_folder(folder)
        start = (PROGRAM, *([KEEP] if host.keep else []))
        launched = (dassl, *(packages if host.needs else ()), ours)
        self.whole = (dassl, bench.folder / "wilds", *packages, ours)
        by_host = ("-m", "modprompt", "train", "--host", str(self.folder))
        self.ways = {
            HOST: Way(by_host, self.desk, (ours,), "MPL", host.dataset_config),
            LAUNCHER: Way(("-m", "modprompt.launch", *start), self.folder, launched, host.trainer, host.dataset_config),
            LINE: Way(start, self.folder, self.whole, host.trainer, host.dataset_config),
        }

    def row(self) -> dict[str, str]:
        """What came of each way, {what: EQUAL, or what is wrong}."""
        row, failed = {}, {}
        for way in (HOST, LAUNCHER):
            run = self.bench.run(self.desk, self.ways[way], "base", way)
            failed[way], row[way] = run.failed, self.learned(run, way)
            saved = checkpoint(self.desk / way, TESTED_EPOCH)
            words = loading(self.desk / way if saved is None else saved.parents[1])
            test = self.bench.run(self.desk, self.ways[way], "new", f"{way}-new", words)
            row[f"{way} new"] = difference(test, self.bench.tested)
        row["doctor"] = self.doctor(failed)
        row[LINE] = self.install() or "; ".join(filter(None, [self.line(), self.install("--uninstall")]))
        row["git"] = git(self.top, "status", "--porcelain", "--ignored", "--untracked-files=all")
        return {name: self.plain(text) or EQUAL for name, text in row.items()}

    def learned(self, run: Run, out: str) -> str:
        """What tells a training from ours, the learned tensors included, or ""."""
        fault, saved = difference(run, self.bench.trained), checkpoint(self.desk / out, EPOCHS)
        if saved is None:
            return fault or "it left no checkpoint"
        return fault or other_tensors(saved, self.bench.model)

    def line(self) -> str:
        """The same of a training by `python train.py`, with the words that its user is told."""
        way = self.ways[LINE]
        words = with_rows(self.bench.words(self.desk, way, "base", LINE), self.folder / PROGRAM, way.trainer).words
        return self.learned(self.bench.program(self.desk, words, way, LINE), LINE)

    def doctor(self, failed: dict[str, str]) -> str:
        """What of the doctor's report is not what happened, or "".

        Args:
            failed: why MPL does not train, by way; "" where it does.
        """
        done = self.bench.command(["doctor", "--seconds", 200], self.whole, self.folder)
        return wrong(done.returncode, done.stdout, failed)

    def install(self, *words: str) -> str:
        """What is wrong with a call of the installer, or ""."""
        done = self.bench.command(["install", self.folder, *words], self.whole, self.desk)
        said = re.sub(r"/\S*/site-packages/", "site-packages/", done.stderr.strip())  # no folder of a machine
        return f"modprompt install: {said[:300]}" if done.returncode else ""

    def plain(self, text: str) -> str:
        """What was said, without folders of this machine."""
        return text.replace(f"{self.desk}/", "").replace(str(self.top), self.host.checkout)


def wrong(code: int, report: str, failed: dict[str, str]) -> str:
    """What of a doctor's report is not what happened, or "": its verdicts on the ways that it tried, its exit code.

    That a way could not be tried is no verdict, and so no wrong one.
    """
    states = dict(re.findall(rf"^({LAUNCHER}|{HOST}) +(\S.*)$", report, re.MULTILINE))
    faults = [
        f"{way}: said '{state}', happened: {failed[way] or 'it did'}"
        for way, state in states.items()
        if not state.startswith(UNTRIED) and (state == WELL) != (not failed[way])
    ]
    last = next(reversed(states.values()), "")
    expected = 0 if last == WELL else UserError.exit_code if last.startswith(UNTRIED) else CANNOT
    return "; ".join(faults + ([f"exit code {code} in place of {expected}"] if code != expected else []))


def holds(host: Host, row: dict[str, str]) -> bool:
    """Whether all of a row is equal, or differs as the table says; packages that are not there may keep the line out."""
    differing = {name: text for name, text in row.items() if text != EQUAL}
    if host.packages and "pip install" in differing.get(LINE, ""):
        del differing[LINE]
    return {*differing} == {*host.differs} and all(said in differing[name] for name, said in host.differs.items())


def run(args: argparse.Namespace) -> int:
    """Exit code 1 if a row does not hold."""
    hosts, folder = chosen(args.only), args.folder.resolve()
    require(folder, hosts)
    bad = []
    with tempfile.TemporaryDirectory() as work:
        bench = Bench(Path(work).resolve())
        for host in hosts:
            row = Visit(bench, host, folder, tuple(args.packages)).row()
            bad += [] if holds(host, row) else [host.name]
            holding = "DOES NOT HOLD: " if host.name in bad else ""
            cells = " | ".join(f"{name}: {text}" for name, text in row.items())
            print(f"{holding}{host.name} {host.commit} | {cells}", flush=True)
    print(f"{len(hosts) - len(bad)} of {len(hosts)} hold" + (f"; not: {', '.join(bad)}" if bad else ""))
    return int(bool(bad))


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0, 1 if a row does not hold, 2 after one line on what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder of the checkouts")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="rows of the table, or checkouts")
    parser.add_argument("--packages", type=Path, nargs="+", default=[], help="folders with what programs import")
    try:
        return run(parser.parse_args(argv))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
