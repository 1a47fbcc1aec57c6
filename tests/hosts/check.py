"""Run MPL in real checkouts of the CoOp family, by each way there is, and hold all against this project's own runs.

    python -m tests.hosts.check FOLDER [--only NAME ...] [--again] [--jobs 2] [--results FILE] [--packages FOLDER]

FOLDER holds the checkouts of tests/hosts/table.py (never committed here). Each gets small pictures laid out as EuroSAT and
a small CLIP with random weights. Dassl's requirements are installed, or in folders on PYTHONPATH; what programs import
beyond those is in --packages (pip install --target) and is there for the import line, and the doctor, alone.
All ways are tried in all of them, then the doctor is asked, which takes longest. A row is written to FILE when it is
done, and once more with the doctor's report; what is there is left out, unless --again. The page is made from FILE by
`python -m tests.hosts.page`.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path

import torch

from modprompt.errors import UserError
from modprompt.hosts.trial import HOST, LAUNCHER
from modprompt.io.files import write_json
from tests.hosts.bench import CLASSES, Bench
from tests.hosts.row import CLEAN, EQUAL, LINE, ask_doctor, git, visit
from tests.hosts.table import DASSL, DASSL_COMMIT, HOSTS, Host

RESULTS = Path(__file__).parent / "results.json"
DONE = ("trained", *CLASSES, "resumed")  # by each of two ways


def chosen(names: Iterable[str] | None) -> list[Host]:
    """Rows of the table by name or by checkout.

    Raises:
        UserError: naming what is not in it.
    """
    if names is None:
        return [*HOSTS]
    unknown = [name for name in names if not any(name in (host.name, host.checkout) for host in HOSTS)]
    if unknown:
        raise UserError(
            f"not in tests/hosts/table.py: {', '.join(unknown)}; it has {', '.join(host.name for host in HOSTS)}"
        )
    return [host for host in HOSTS if {host.name, host.checkout} & {*names}]


def require(folder: Path, hosts: list[Host]) -> None:
    """Raise UserError if a checkout is not there or at another commit, with the commands that make it."""
    wanted = {host.checkout: (host.address, host.commit) for host in hosts}
    if any(not host.dassl for host in hosts):
        wanted[DASSL.split("/")[1]] = (DASSL, DASSL_COMMIT)
    missing = []
    for name, (address, commit) in wanted.items():
        there = (folder / name / ".git").exists()
        if not there:
            missing.append(
                f"git clone https://github.com/{address} {folder / name} && git -C {folder / name} checkout {commit}"
            )
        elif not git(folder / name, "rev-parse", "HEAD").startswith(commit):
            missing.append(f"git -C {folder / name} checkout {commit}")
    if missing:
        raise UserError("first, for the checkouts of the table:\n" + "\n".join(missing))


def differences(row: dict) -> dict[str, str]:
    """What of a row is not as our own runs are, by what it is: WAY WHAT, or one of the other columns."""
    cells = {f"{way} {what}": row[way][what] for way in (HOST, LAUNCHER) for what in DONE}
    found = {name: text for name, text in {**cells, LINE: row[LINE]}.items() if text != EQUAL}
    others = {"git": "" if row["git"] == CLEAN else row["git"], "doctor": row["doctor"].get("wrong", "not asked")}
    return {**found, **{name: text for name, text in others.items() if text}}


def holds(host: Host, row: dict) -> bool:
    """Whether all is equal, or differs as the table says."""
    found = differences(row)
    return {*found} == {*host.differs} and all(said in found[name] for name, said in host.differs.items())


class Results:
    """The file of results, written whole after each row."""

    def __init__(self, path: Path):
        self.path, self.lock = path, threading.Lock()
        self.rows: dict[str, dict] = json.loads(path.read_text()) if path.is_file() else {}

    def add(self, host: Host, row: dict) -> None:
        """Put a row in its place, in the order of the table."""
        with self.lock:
            rows = {**self.rows, host.name: row}
            self.rows = {one.name: rows[one.name] for one in HOSTS if one.name in rows}
            write_json(self.path, self.rows)


def run(args: argparse.Namespace) -> int:
    """Exit code 1 if a row does not hold."""
    hosts, folder, results = chosen(args.only), args.folder.resolve(), Results(args.results)
    require(folder, hosts)
    if args.again:
        results.rows = {name: row for name, row in results.rows.items() if name not in {host.name for host in hosts}}
    versions = {"python": platform.python_version(), "torch": torch.__version__.split("+")[0]}
    with tempfile.TemporaryDirectory() as work:
        bench, packages = Bench(Path(work), sys.executable), tuple(args.packages)

        def all_ways(host: Host) -> None:
            started = time.monotonic()
            row = visit(bench, host, folder, packages)
            row.update(commit=host.commit, seconds=round(time.monotonic() - started), **versions)
            results.add(host, row)
            print(f"{host.name}: {json.dumps(differences(row))}", flush=True)

        def its_doctor(host: Host) -> None:
            row = ask_doctor(bench, host, folder, packages, results.rows[host.name])
            results.add(host, row)
            print(f"{'holds' if holds(host, row) else 'DOES NOT HOLD'}: {host.name} {row['doctor']}", flush=True)

        in_turn([host for host in hosts if host.name not in results.rows], all_ways, args.jobs)
        in_turn([host for host in hosts if not results.rows[host.name]["doctor"]], its_doctor, args.jobs)
    bad = [host.name for host in hosts if not holds(host, results.rows[host.name])]
    print(f"{len(hosts) - len(bad)} of {len(hosts)} hold" + (f"; not: {', '.join(bad)}" if bad else ""))
    return int(bool(bad))


def in_turn(hosts: Iterable[Host], do: Callable[[Host], None], jobs: int) -> None:
    """Do something in each codebase, in one of a checkout at a time."""

    def one_after_another(group: list[Host]) -> None:
        for host in group:
            do(host)

    groups = [list(group) for _, group in groupby(hosts, lambda host: host.checkout)]
    with ThreadPoolExecutor(jobs) as pool:
        for done in [pool.submit(one_after_another, group) for group in groups]:
            done.result()


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0, 1 if a row does not hold, 2 after one line on what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder of the checkouts")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="rows of the table, by name or by checkout")
    parser.add_argument("--jobs", type=int, default=1, help="codebases at a time")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where rows are kept")
    parser.add_argument("--again", action="store_true", help="also rows that are there")
    parser.add_argument("--packages", type=Path, nargs="+", default=[], help="folders with what programs import")
    try:
        return run(parser.parse_args(argv))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
