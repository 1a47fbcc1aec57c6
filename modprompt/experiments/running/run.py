"""Run the trainings and tests of an experiment that have not finished yet, for all data sets, methods and seeds.

    modprompt experiment run digits               runs on this machine, one run per GPU or several runs on the CPU
    modprompt experiment run base2new --dry-run   prints what would run
    modprompt experiment status base2new          shows the progress from another shell
    modprompt experiment run base2new --launcher slurm --slurm timeout_min=120 slurm_partition=gpu

FILE is the path of an experiment file, or the name of a file in configs/experiments. Ctrl-C stops the runs, and the
same command resumes them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modprompt.checks import counted
from modprompt.errors import UserError, WaitsForLabels
from modprompt.experiments.plan import arguments, protocols
from modprompt.experiments.plan.check import check
from modprompt.experiments.plan.commands import command, shell_command
from modprompt.experiments.plan.experiment import Job, Plan
from modprompt.experiments.plan.inputs import Inputs, require_present
from modprompt.experiments.running import chains, slurm, stale, state, status
from modprompt.experiments.running.state import State
from modprompt.io import lock
from modprompt.io.figures import WHY_NONE, can_draw
from modprompt.io.files import Refused
from modprompt.io.records import parse_yaml
from modprompt.programs import Parser, report, signals_handled, signals_here


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the arguments of a command line."""
    parser = Parser(__doc__)
    arguments.add_what_to_run(parser)
    add = parser.add_argument
    add("--report", action="store_true", help="write the report after the last run, like `modprompt experiment report`")
    add("--dry-run", action="store_true", help="print the runs and their commands without starting them")
    add(
        "--redo-stale",
        action="store_true",
        help="move results that were made with different settings or inputs aside, and repeat these runs",
    )
    add(
        "--launcher",
        choices=("local", "slurm"),
        default="local",
        help="start the runs on this machine or as Slurm jobs (default: local)",
    )
    add(
        "--jobs",
        type=int,
        default=None,
        help="number of runs at a time (default: --per-gpu runs on each GPU; without a GPU one per core, at most 4)",
    )
    add(
        "--per-gpu",
        type=int,
        default=None,
        help="number of runs at a time on each GPU; the runs share the GPU memory (default: 1)",
    )
    add(
        "--no-fork",
        action="store_true",
        help="start every run as a new program instead of forking a process with loaded packages",
    )
    add("--compact", action="store_true", help="show one progress line for all runs")
    add(
        "--slurm",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="settings of submitit; they override the settings in the experiment file",
    )
    add("--cancel", action="store_true", help="remove the runs of this experiment from the Slurm queue")
    args: argparse.Namespace = parser.parse_args(argv)
    for flag, number in (("--jobs", args.jobs), ("--per-gpu", args.per_gpu)):
        if number is not None and number < 1:
            parser.error(f"{flag} must be at least 1, got {number}.")
    if args.per_gpu and args.launcher != "local":
        parser.error(
            "--per-gpu works only with --launcher local, because each Slurm job has its own GPU. Remove --per-gpu."
        )
    return args


def slurm_settings(args: argparse.Namespace, plan: Plan) -> dict[str, Any]:
    """Return the settings of submitit: the defaults, overridden by the file and then by the command line.

    Raises:
        UserError: if an argument of --slurm does not have the form KEY=VALUE.
    """
    of_command_line = {}
    for word in args.slurm:
        key, equals, value = word.partition("=")
        if not equals:
            raise UserError(f"--slurm: the argument {word!r} does not have the form KEY=VALUE. Correct the argument.")
        try:
            of_command_line[key] = parse_yaml(value)
        except Refused:
            raise UserError(f"--slurm: the value {value!r} of {key} is not valid YAML. Correct the value.") from None
    return {**slurm.DEFAULTS, **plan.slurm, **of_command_line}


def dry_run(states: Sequence[tuple[Job, State]], out: Path, data: Path) -> None:
    """Print each unfinished run with its command, and the numbers of unfinished and finished runs."""
    for job, run_state in states:
        if run_state.name != state.FINISHED:
            after = f" The run starts after {job.needs.folder}." if job.needs else ""
            print("#", state.describe(job.title, run_state.name, run_state.why) + after)
            print(shell_command(command(job, out, data)))
    names = [run_state.name for _, run_state in states]
    finished, waiting = names.count(state.FINISHED), names.count(state.LABELS)
    rest = f", {waiting} {'waits' if waiting == 1 else 'wait'} for labels" if waiting else ""
    unfinished, verb = len(states) - finished - waiting, "is" if finished == 1 else "are"
    print(f"# {unfinished} of {len(states)} runs would start. {finished} {verb} already finished{rest}.")


def require_usable(out: Path) -> None:
    """Create the output folder.

    Raises:
        UserError: if the folder cannot be written, or on Windows, which has no process groups.
    """
    if not hasattr(os, "killpg"):
        raise UserError(
            "Experiments run only on Linux and macOS. On Windows, use WSL (`wsl --install`). `modprompt train` and "
            "`modprompt experiment report` also work on Windows."
        )
    try:
        with contextlib.suppress(lock.Busy):
            lock.take(out / ".lock", "").release()
    except OSError as error:
        raise UserError(f"--out: cannot write to {out} ({error.strerror}). Use a different --out folder.") from None


def print_outcome(outcome: Sequence[tuple[Job, State]]) -> int:
    """Print the states of all runs, and return 0 if all have finished, 3 if the others wait for labels, else 1."""
    kinds = [run_state.name for _, run_state in outcome]
    for kind in (*state.ORDER[1:], state.BLOCKED):
        for job, run_state in outcome:
            if run_state.name == kind:
                print(state.describe(job.title, kind, run_state.why))
    print(f"{kinds.count(state.FINISHED)} of {len(outcome)} runs are finished.")
    if state.FAILED in kinds:
        print(
            "Run the same command again to repeat the failed runs. The full output of each run is in the file "
            "job/console.txt in the folder of the run."
        )
    if state.STALE in kinds:
        print("Outdated results are not used. Add --redo-stale to move these results aside and repeat the runs.")
    if state.LABELS in kinds:
        print("When all labels of a run are filled in, run the same command again to continue the run.")
    left = {*kinds} - {state.FINISHED}
    if not left:
        return 0
    return WaitsForLabels.exit_code if left == {state.LABELS} else 1


def start(args: argparse.Namespace, plan: Plan, jobs: Sequence[Job], inputs: Inputs) -> int:
    """Run all runs that have not finished, and return the exit code.

    The code is 0 if all runs have finished, 3 if the others wait for labels or are in the Slurm queue since an earlier
    start, 130 if the runs were stopped, and 1 otherwise.

    Raises:
        UserError: if no GPU, core or cluster can be used.
    """
    is_local = args.launcher == "local"
    if is_local:
        slots = chains.make_slots(chains.usable_gpus(), chains.usable_cores(), args.jobs, args.per_gpu)
    else:
        folder = args.out / "slurm" / re.sub(r"[^\w.-]+", "_", plan.name)
        queue = slurm.Queue(folder, slurm_settings(args, plan), args.jobs)
    print(f"The runs are stored in {args.out}.", flush=True)
    if args.redo_stale:
        stale.put_aside(jobs, args.out, inputs)
    runs, queued = chains.Chains(jobs, args.out, args.data, inputs, args.compact), set[str]()
    stops = signals_here("SIGINT", "SIGTERM", "SIGHUP")  # Ctrl-C, a request to stop, a closed terminal
    try:
        with signals_handled(stops, lambda *_: runs.stop.set()):
            if is_local:
                runs.run(slots, args.no_fork)
            else:
                queued = queue.run(runs)
    except KeyboardInterrupt:
        left = "All runs were stopped." if is_local else "The runs stay in the Slurm queue; --cancel removes them."
        print(f"{left} Run the same command again to resume the experiment.", file=sys.stderr)
        return 130
    states = state.of_all(jobs, args.out, inputs)
    outcome = runs.outcome(states)
    code = print_outcome(outcome)
    unfinished = {job.folder for job, run_state in outcome if run_state.name not in (state.FINISHED, state.LABELS)}
    if unfinished and unfinished <= queued:  # they are in the Slurm queue since an earlier start
        code = WaitsForLabels.exit_code
    for line in status.not_compared(states, inputs):
        print(f"warning: {line}", file=sys.stderr)
    if args.report:
        from modprompt.experiments.reporting import report as reports  # this import brings numpy and pandas
        from modprompt.experiments.reporting.runs import collect

        parts = [collect(part, states, args.out) for part in plan.parts]
        reports.write_plan(plan, parts, reports.report_folder(plan, args.out), args.data)
    return code


def run(args: argparse.Namespace) -> int:
    """Run the command with these arguments, and return the exit code.

    Raises:
        UserError: if the experiment cannot be run.
    """
    plan = arguments.what_to_run(args)
    jobs = protocols.jobs(*plan.parts)
    inputs = Inputs(args.out, args.data)
    if args.cancel:
        removed = slurm.cancel([args.out / job.folder for job in jobs])
        print(f"Removed {counted(removed, 'job')} from the Slurm queue.")
        return 0
    if not args.dry_run:
        require_usable(args.out)
    states = state.of_all(jobs, args.out, inputs)
    unfinished = [job for job, run_state in states if run_state.name != state.FINISHED]
    for warning in check(unfinished, args.out, args.data) if unfinished else ():
        print(f"warning: {warning}", file=sys.stderr)
    if args.dry_run:
        dry_run(states, args.out, args.data)
        return 0
    require_present(list(dict.fromkeys(job.dataset for job in unfinished)), args.data)
    if args.report and unfinished and not can_draw():  # before the runs, which may take hours
        print(f"warning: The report will have no figures, {WHY_NONE}", file=sys.stderr)
    return start(args, plan, jobs, inputs)


def main(argv: list[str] | None = None) -> int:
    """Run the command, and return its exit code: the code that `start` returns, or 2 after an error message."""
    return report(lambda: run(parse(argv)))
