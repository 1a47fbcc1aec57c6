"""Flags that the commands of this package share."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from modprompt import places
from modprompt.experiments.plan import spec
from modprompt.experiments.plan.experiment import ACQUISITIONS, Plan, narrowed
from modprompt.experiments.plan.present import only_present
from modprompt.io.settings import pairs


def _absolute(path: str | Path) -> Path:
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as error:  # an unknown user
        raise argparse.ArgumentTypeError(f"{path}: {error}") from None


def _add_folder(parser: argparse.ArgumentParser, name: str, folder: str, what: str) -> None:
    parser.add_argument(
        f"--{name}",
        type=_absolute,
        default=_absolute(os.environ.get(name.upper()) or places.home() / folder),
        help=f"{what} (default: ${name.upper()}, else {folder}/ in the checkout or the current folder)",
    )


def add_data(parser: argparse.ArgumentParser) -> None:
    """--data."""
    _add_folder(parser, "data", "data", "folder of the data sets")


def add_out(parser: argparse.ArgumentParser) -> None:
    """--out."""
    _add_folder(parser, "out", "output", "output folder of all runs")


def add_common(parser: argparse.ArgumentParser) -> None:
    """Flags that choose runs: --out, parts of the experiment, and KEY VALUE options of every run."""
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
    add(f"--{ACQUISITIONS}", nargs="+", default=[], metavar="NAME", help=only_these)
    add_options(parser)


def add_options(parser: argparse.ArgumentParser) -> None:
    """--options."""
    what = "settings for every run, which override the settings of the file"
    parser.add_argument("--options", nargs="+", default=[], metavar="KEY VALUE", help=what)


def add_what_to_run(parser: argparse.ArgumentParser) -> None:
    """Flags that choose runs and data: the experiment, add_common, add_data and --skip-missing-data."""
    parser.add_argument("file", help="path of an experiment file, or the name of a file in configs/experiments")
    add_common(parser)
    add_data(parser)
    parser.add_argument(
        "--skip-missing-data", action="store_true", help="skip the data sets that are missing in --data"
    )


def plan_of(args: argparse.Namespace) -> Plan:
    """The plan of an experiment file that the arguments ask for; raises UserError as spec.read_plan and narrowed."""
    plan = spec.read_plan(spec.find(args.file), dict(pairs(args.options)))
    return narrowed(plan, **{kind: getattr(args, kind) for kind in plan.parts[0].names})


def what_to_run(args: argparse.Namespace) -> Plan:
    """The plan that the arguments of add_what_to_run ask for; raises UserError as plan_of and only_present."""
    plan = plan_of(args)
    return (
        plan._replace(parts=tuple(only_present(part, args.data) for part in plan.parts))
        if args.skip_missing_data
        else plan
    )
