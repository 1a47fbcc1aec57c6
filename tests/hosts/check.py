"""Run MPL in real checkouts of the CoOp family, by launcher and by installer, and hold all against this project's own runs.

    python -m tests.hosts.check FOLDER [--only NAME ...] [--jobs 2] [--results FILE] [--python PYTHON]

FOLDER holds the checkouts of tests/hosts/table.py as `git clone` names them (never committed here), PYTHON is the
environment that has what they import. Each gets small pictures laid out as EuroSAT and a small CLIP with random weights.
Rows are written to FILE as they finish; those that were there and are not run again stay. The page is made from FILE
by `python -m tests.hosts.page`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import Iterable

from modprompt.errors import UserError
from modprompt.storage.text import write_json
from tests.hosts import own, stand_ins
from tests.hosts.bench import CLASSES, Bench
from tests.hosts.row import EQUAL, git, visit
from tests.hosts.table import DASSL, DASSL_COMMIT, HOSTS, Host

RESULTS = Path(__file__).parent / "results.json"
COLUMNS = ("launcher", "installer", *CLASSES, "resumed", "scripts")


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


def holds(row: dict) -> bool:
    """Whether a row is as it should be."""
    equal = all(row[name] == EQUAL for name in COLUMNS)
    return (
        equal
        and not own.is_hurt(row["own"])
        and row["git"] == "as before"
        and not any(one["wrong"] for one in row["doctor"])
    )


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


def environment_of(python: str) -> dict[str, str]:
    """Versions of what a row was run with.

    Raises:
        UserError: if this Python has no PyTorch.
    """
    code = "import platform, torch; print(platform.python_version(), torch.__version__.split('+')[0])"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"{python} does not import PyTorch: {done.stderr.strip()[-200:]}")
    return dict(zip(("python", "torch"), done.stdout.split()))


def run(args: argparse.Namespace) -> int:
    """Exit code 1 if a row does not hold."""
    hosts, folder = chosen(args.only), args.folder.resolve()
    require(folder, hosts)
    versions, results = environment_of(args.python), Results(args.results)
    with tempfile.TemporaryDirectory() as work:
        (Path(work) / "packages").mkdir()
        for name in sorted({name for host in hosts for name in host.asks}):
            stand_ins.put(name, Path(work) / "packages", args.python)
        bench = Bench(Path(work), args.python)
        own.write_files(Path(work))

        def in_checkout(group: list[Host]) -> None:
            for host in group:
                started = time.monotonic()
                row = visit(bench, host, folder, Path(work) / "packages")
                row.update(commit=host.commit, seconds=round(time.monotonic() - started), **versions)
                results.add(host, row)
                print(f"{'holds' if holds(row) else 'DOES NOT HOLD'}: {host.name} {json.dumps(row)}", flush=True)

        groups = [list(group) for _, group in groupby(hosts, lambda host: host.checkout)]  # one at a time in a checkout
        with ThreadPoolExecutor(args.jobs) as pool:
            for done in [pool.submit(in_checkout, group) for group in groups]:
                done.result()
    bad = [host.name for host in hosts if not holds(results.rows[host.name])]
    print(f"{len(hosts) - len(bad)} of {len(hosts)} hold" + (f"; not: {', '.join(bad)}" if bad else ""))
    return int(bool(bad))


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0, 1 if a row does not hold, 2 after one line on what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder of the checkouts")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="rows of the table, by name or by checkout")
    parser.add_argument("--jobs", type=int, default=1, help="codebases at a time")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where rows are kept")
    parser.add_argument("--python", default=sys.executable, help="the Python of the codebases")
    try:
        return run(parser.parse_args(argv))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
