"""Everything that only a CUDA card can tell: losses, step times, memory, evaluation, loss scaling, resuming.

    python -m benchmarks.gpu                          all cases, nine minutes of them; the same command goes on
    python -m benchmarks.gpu --reference DIR          also a checkout of the official MPL repository
    python -m benchmarks.gpu --only step-MPL          the cases whose name begins so
    python -m benchmarks.gpu --minutes 60
    python -m benchmarks.gpu --dry-run                all of it in tiny sizes on a CPU, to see that it runs

Each case is a process of its own and leaves a JSON file; cases that have finished on the same card, versions and commit
are not run again. The table (gpu.md) and the figure (gpu.png) are written anew after every case.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import List

import torch

from benchmarks.gpu import facts as facts_of
from benchmarks.gpu import process
from benchmarks.gpu.plan import chosen, tasks
from benchmarks.gpu.records import Record, Records
from benchmarks.gpu.task import Place, Task
from modprompt.errors import UserError
from modprompt.programs import left_as_found, report

RESULTS = Path(__file__).parent.parent / "results"


def _require_place(place: Place) -> None:
    if not place.dry_run and not torch.cuda.is_available():
        raise UserError("there is no CUDA card here, or this PyTorch has no CUDA; --dry-run walks all cases on a CPU")
    if place.reference and not (Path(place.reference) / "trainers" / "mpl.py").is_file():
        raise UserError(
            f"--reference {place.reference}: there is no trainers/mpl.py of the official MPL repository there"
        )


def publish(records: Records, place: Place) -> List[Record]:
    """Write table and figure of all that has run; gives the records."""
    from benchmarks.gpu.figure import draw
    from benchmarks.gpu.table import markdown
    from modprompt.storage.text import write_whole

    each = {task.name: records.read(task) for task in tasks()}
    done = [record for record in each.values() if record is not None]
    left = [name for name, record in each.items() if record is None]
    write_whole(records.folder / "gpu.md", markdown(done, records.facts, left, place.dry_run))
    draw(done, records.facts, records.folder / "gpu.png", place.dry_run)
    return done


def _waiting(wanted: List[Task], records: Records) -> List[Task]:
    """The cases that are to be run: those that never were, then those that failed."""
    known = {task: records.read(task) for task in wanted}
    never = [task for task, record in known.items() if record is None]
    return never + [task for task, record in known.items() if record is not None and record.found is None]


def run_all(wanted: List[Task], place: Place, records: Records, minutes: float) -> List[Task]:
    """Run cases until the minutes are over; gives those that did not come to their end.

    A case that takes all of the minutes alone has failed: it would never end.
    """
    ends = time.monotonic() + 60 * minutes
    waiting = _waiting(wanted, records)
    for number, task in enumerate(waiting):
        seconds = ends - time.monotonic()
        if seconds <= 0:
            return waiting[number:]
        print(f"[{number + 1}/{len(waiting)}] {task.name}", flush=True)
        record = process.run(task, place, records, seconds)
        if record is None and number:
            return waiting[number:]
        record = record or Record(task, records.facts, None, f"not ready in --minutes {minutes:g}", 60 * minutes)
        records.write(record)
        publish(records, place)
        for row in record.rows:
            print(f"    {row.figure}: {row.measured} {row.detail}", flush=True)
    return []


def _run(args: argparse.Namespace, outcome: List[int]) -> None:
    place = Place(args.dry_run, str(Path(args.reference).resolve()) if args.reference else "")
    _require_place(place)
    wanted = chosen(args.only)
    folder = Path(args.out) if args.out else RESULTS / ("gpu-dry-run" if place.dry_run else "gpu")
    records = Records(folder, facts_of.facts(place))
    left = run_all(wanted, place, records, args.minutes)
    publish(records, place)
    failed = [task.name for task in wanted if (record := records.read(task)) and record.found is None]
    if left:
        print(f"the {args.minutes:g} minutes are over; left: {', '.join(task.name for task in left)}")
        print("the same command goes on")
    if failed:
        print(f"failed: {', '.join(failed)} (their logs are in {folder})")
    print(f"{'DRY RUN, no figures of a card: ' if place.dry_run else ''}{folder / 'gpu.md'}")
    outcome.append(1 if left or failed else 0)


@left_as_found()
def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 if all cases are done, 1 if some are left or failed, 2 after a line on what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", default="", metavar="DIR", help="a checkout of the official MPL repository")
    parser.add_argument("--only", default="", metavar="CASE", help="cases whose name begins so")
    parser.add_argument("--minutes", type=float, default=9, help="no case is begun or gone on with behind them")
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes on a CPU; no figure means anything")
    parser.add_argument(
        "--out", default="", metavar="FOLDER", help="of records, table and figure (benchmarks/results/)"
    )
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.one:
        process.work(args.one)  # the last line of what it raises says why a case failed
        return 0
    outcome: List[int] = []
    return report(_run, args, outcome) or outcome[0]


if __name__ == "__main__":
    sys.exit(main())
