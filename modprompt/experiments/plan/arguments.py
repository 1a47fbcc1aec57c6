"""The command-line arguments that `modprompt experiment run`, `status`, `report` and `choose` share."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from modprompt import places
from modprompt.experiments.plan import file
from modprompt.experiments.plan.experiment import Plan, select
from modprompt.experiments.plan.inputs import only_present
from modprompt.io.settings import pairs


def _absolute(path: str | Path) -> Path:
    """Return the absolute path of a path that a user typed."""
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as error:  # ~NAME of an unknown user
        raise argparse.ArgumentTypeError(f"{path}: {error}") from None


def _add_folder(parser: argparse.ArgumentParser, name: str, folder: str, what: str) -> None:
    parser.add_argument(
        f"--{name}",
        type=_absolute,
        default=_absolute(os.environ.get(name.upper()) or places.home() / folder),
        help=f"{what} (default: ${name.upper()}, else {folder}/ in the checkout or the current folder)",
    )


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add --data."""
    _add_folder(parser, "data", "data", "folder of the data sets")


def add_out(parser: argparse.ArgumentParser) -> None:
    """Add --out."""
    _add_folder(parser, "out", "output", "output folder of all runs")


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add --out, the flags that select parts of an experiment, and --options."""
    add_out(parser)
    add = parser.add_argument
    add("--parts", nargs="+", default=[], metavar="NAME", help="use only these parts of the file (default: all)")
    add("--datasets", nargs="+", default=[], metavar="NAME", help="use only these data sets of the file (default: all)")
    add("--methods", nargs="+", default=[], metavar="NAME", help="use only these methods of the file (default: all)")
    add(
        "--seeds",
        nargs="+",
        type=int,
        default=[],
        metavar="SEED",
        help="use only these seeds of the file (default: all)",
    )
    only_these = "use only these acquisition functions of a file for active learning (default: all)"
    add("--acquisitions", nargs="+", default=[], metavar="NAME", help=only_these)
    add_options(parser)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add --options."""
    what = "settings for every run, which override the settings of the file"
    parser.add_argument("--options", nargs="+", default=[], metavar="KEY VALUE", help=what)


def add_what_to_run(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that select runs and data: the experiment file, add_common, --data and --skip-missing-data."""
    parser.add_argument("file", help="path of an experiment file, or the name of a file in configs/experiments")
    add_common(parser)
    add_data(parser)
    parser.add_argument(
        "--skip-missing-data", action="store_true", help="skip the data sets that are missing in --data"
    )


def plan_of(args: argparse.Namespace) -> Plan:
    """Return the selected parts of an experiment file.

    Raises:
        UserError: if the file is wrong, or does not contain what the arguments select.
    """
    plan = file.read_plan(file.find(args.file), dict(pairs(args.options)))
    return select(plan, **{flag: getattr(args, flag) for flag in plan.parts[0].selectable})


def what_to_run(args: argparse.Namespace) -> Plan:
    """Return the plan of `plan_of`; with --skip-missing-data, without data sets that are missing on the disk.

    Raises:
        UserError: like `plan_of`, or if no data set is left.
    """
    plan = plan_of(args)
    if not args.skip_missing_data:
        return plan
    return plan._replace(parts=tuple(only_present(part, args.data) for part in plan.parts))
