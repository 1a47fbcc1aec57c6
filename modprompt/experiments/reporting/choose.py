"""Choose a setting for each method of an experiment by validation images, and write what was chosen.

    python -m modprompt experiment run demo_settings
    python -m modprompt experiment choose demo_settings

FILE is an experiment file of protocol validation with a grid, or the name of one in configs/experiments. The file that
is written is what `chosen: FILE.json` of another experiment takes its methods' settings from.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Mapping

from modprompt import programs
from modprompt.experiments.plan import arguments, chosen, spec
from modprompt.experiments.plan.inputs import Inputs
from modprompt.experiments.plan.protocols import jobs
from modprompt.experiments.reporting.choosing import choose
from modprompt.experiments.reporting.results import of_experiment
from modprompt.experiments.running import state


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="experiment file of protocol validation, or its name in configs/experiments")
    arguments.add_out(parser)
    arguments.add_data(parser)
    parser.add_argument("--to", type=Path, default=None, help="what is written (default: FILE.json beside the file)")
    return parser.parse_args(argv)


def lines(content: Mapping[str, Any]) -> list[str]:
    """What was chosen, as a Markdown table: accuracy of every try in percent, the chosen one in bold."""
    methods = content["methods"]
    first = next(iter(methods.values()))
    names = [", ".join(one["options"].values()) for one in first["tries"]]
    text = [f"| {' and '.join(content['grid'])} | {' | '.join(names)} |", f"|{' --- |' * (len(names) + 1)}"]
    for label, found in methods.items():
        cells = [
            f"**{one['accuracy_pct']:.2f}**" if one["options"] == found["options"] else f"{one['accuracy_pct']:.2f}"
            for one in found["tries"]
        ]
        text.append(f"| {label} | {' | '.join(cells)} |")
    return text


def _main(argv: list[str] | None) -> None:
    args = parse(argv)
    path = spec.find(args.file)
    experiment = spec.read(path)
    states = state.of_all(jobs(experiment), args.out, Inputs(args.out, args.data))
    content = choose(experiment, of_experiment(experiment, states, marked=True))  # it refuses them by itself
    to = args.to or path.with_suffix(".json")
    chosen.write(to, content)
    print("\n".join(lines(content)))
    print(f"Written to {to}")


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0, or 2 after one line on what is wrong."""
    return programs.report(_main, argv)
