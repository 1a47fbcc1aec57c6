"""All that only a GPU can show, in one table: the bound, the measured value, whether it holds.

    make card                                         the quick cases and tests/card, within nine minutes on an H100
    make card FULL=1                                  all cases, within an hour
    python -m benchmarks.gpu [--quick]                the same; the same command goes on where it stopped
    python -m benchmarks.gpu --full
    python -m benchmarks.gpu --reference DIR          also a checkout of the official MPL repository
    python -m benchmarks.gpu --only step-MPL losses   the cases whose names begin so
    python -m benchmarks.gpu --quick --dry-run        in tiny sizes on a CPU, to see that it runs

Each case leaves a JSON file; cases that ended with the same GPU, versions and sources are not run again. The table
(gpu.md), the figure (gpu.png) and the file to send (gpu.zip) are written after every case.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from pathlib import Path

import torch

from benchmarks.gpu import facts as facts_of
from benchmarks.gpu import process
from benchmarks.gpu.measures.losses import CPU
from benchmarks.gpu.plan import chosen
from benchmarks.gpu.records import Record, Records
from benchmarks.gpu.rows import NOT_HELD
from benchmarks.gpu.task import Place, Task
from modprompt.errors import UserError
from modprompt.programs import one_line, report

RESULTS = Path(__file__).parent.parent / "results"
MINUTES = {"quick": 9.0, "full": 60.0}
ANEW = "ready"  # the kind that is always run again


def _require_place(place: Place) -> None:
    if not place.dry_run and not torch.cuda.is_available():
        raise UserError(f"there is no GPU to measure ({_why_none()}); --dry-run walks all cases on a CPU")
    if place.reference and not (Path(place.reference) / "trainers" / "mpl.py").is_file():
        raise UserError(
            f"--reference {place.reference}: there is no trainers/mpl.py of the official MPL repository there"
        )


def _why_none() -> str:
    """Why CUDA does not start: no GPU, a driver that is too old, a PyTorch without CUDA."""
    try:
        torch.cuda.init()
    except (AssertionError, RuntimeError) as error:
        return one_line(error)[:200]
    return "PyTorch sees none"


def publish(groups: list[list[Task]], records: Records, place: Place) -> list[Record]:
    """Write table, figure and the file to send, from all that has run; the records."""
    from benchmarks.gpu.figure import draw
    from benchmarks.gpu.send import pack
    from benchmarks.gpu.table import markdown
    from modprompt.io.files import write_whole

    each = {task.name: records.read(task) for group in groups for task in group}
    done = [record for record in each.values() if record is not None]
    left = [name for name, record in each.items() if record is None]
    write_whole(records.folder / "gpu.md", markdown(done, records.facts, left, place.dry_run))
    draw(done, records.facts, records.folder / "gpu.png", place.dry_run)
    pack(done, records.folder)
    return done


def _waiting(group: list[Task], records: Records) -> list[Task]:
    """A process's cases to run: those that never ran, then those that found nothing."""
    known = {task: None if task.kind == ANEW else records.read(task) for task in group}
    never = [task for task, record in known.items() if record is None]
    return never + [task for task, record in known.items() if record is not None and record.found is None]


class _Meanwhile(threading.Thread):
    """The CPU's cases, in a process at the same time as the others'."""

    def __init__(self, tasks: list[Task], place: Place, records: Records, ends: float):
        super().__init__()
        self.tasks, self.place, self.records, self.ends = tasks, place, records, ends

    def over(self) -> bool:
        """Whether the time is over; an interrupt sets `ends` to 0."""
        return time.monotonic() >= self.ends

    def run(self) -> None:
        for record in process.run(self.tasks, self.place, self.records, self.over):
            self.records.write(record)


def run_all(groups: list[list[Task]], place: Place, records: Records, minutes: float) -> None:
    """Run cases, a process for each group, until the minutes are over; each is printed and written when it ends."""
    ends = time.monotonic() + 60 * minutes
    waiting = [_waiting(group, records) for group in groups]
    meanwhile = _Meanwhile([one for group in waiting for one in group if one.how == CPU], place, records, ends)
    meanwhile.start()
    try:
        for group in waiting:
            tasks = [task for task in group if task.how != CPU]
            if any(task.kind == "losses" for task in tasks):
                meanwhile.join()
            for record in process.run(tasks, place, records, meanwhile.over):
                records.write(record)
                publish(groups, records, place)
                _tell(record)
    except BaseException:
        meanwhile.ends = 0.0
        raise
    finally:
        meanwhile.join()


def _tell(record: Record) -> None:
    print(f"{record.task.name}, {record.seconds:.0f} s", flush=True)
    for row in record.rows:
        print(f"    {row.verdict:8} {row.figure}: {row.measured} {row.asked and f'({row.asked})'}", flush=True)


def _run(args: argparse.Namespace, outcome: list[int]) -> None:
    folder = Path(args.out) if args.out else RESULTS / ("gpu-dry-run" if args.dry_run else "gpu")
    place = Place(args.dry_run, str(Path(args.reference).resolve()) if args.reference else "", str(folder.resolve()))
    _require_place(place)
    groups = chosen(args.full, args.only)
    records = Records(folder, facts_of.facts(place))
    minutes = args.minutes or MINUTES["full" if args.full else "quick"]
    run_all(groups, place, records, minutes)
    done = publish(groups, records, place)
    left = sum(map(len, groups)) - len(done)
    wrong = [row.figure for record in done for row in record.rows if row.verdict == NOT_HELD]
    if left:
        print(f"the {minutes:g} minutes are over, {left} cases are left: the same command goes on")
    for figure in wrong:
        print(f"{NOT_HELD}: {figure}")
    print(
        f"{'DRY RUN, no figures of a GPU: ' if place.dry_run else ''}{folder / 'gpu.md'}; to send: {folder / 'gpu.zip'}"
    )
    outcome.append(1 if left or wrong else 0)


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0, 1 if a row does not hold or cases are left, 2 after a message on what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    how_much = parser.add_mutually_exclusive_group()
    how_much.add_argument("--quick", action="store_true", help="the cases of nine minutes (the default)")
    how_much.add_argument("--full", action="store_true", help="all cases")
    parser.add_argument("--reference", default="", metavar="DIR", help="a checkout of the official MPL repository")
    parser.add_argument("--only", default=[], nargs="+", metavar="CASE", help="cases whose names begin so")
    parser.add_argument("--minutes", type=float, help="after them no case begins or goes on (9; --full 60)")
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes on a CPU; no figure means anything")
    parser.add_argument("--out", default="", metavar="FOLDER", help="folder of all files (benchmarks/results/)")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.one:
        process.work(args.one)  # the last line of what it raises says why a case failed
        return 0
    outcome: list[int] = []
    return report(_run, args, outcome) or outcome[0]


if __name__ == "__main__":
    sys.exit(main())
