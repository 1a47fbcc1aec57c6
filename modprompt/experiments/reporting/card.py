"""The card of a shared experiment: its tables, means over seeds, and how to load the runs."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from modprompt.experiments.plan.experiment import Experiment
from modprompt.experiments.reporting import render, round_tables, table
from modprompt.experiments.reporting.comparable import clips, warnings
from modprompt.experiments.reporting.results import Results
from modprompt.storage import pages
from modprompt.use.card import header, how_to_load


def card(
    experiment: Experiment,
    results: Results,
    runs: Sequence[str],
    clip: Mapping[str, Any],
    repo: str,
    license_id: str = "",
) -> str:
    """The card: what the runs are, numbers with their seeds, what is lacking, how to load.

    Args:
        experiment: what was to be run.
        results: what came of it.
        runs: folders of the runs in the repository.
        clip: what is known of the CLIP of the first.
        repo: "owner/name".
        license_id: as a hub calls it.
    """
    has_rounds = experiment.active is not None
    sections = (round_tables if has_rounds else table).sections(experiment, results)
    about = render.caption(experiment, sections) + (f" {round_tables.ABOUT}" if has_rounds else "")
    methods = ", ".join(line.label for line in results.lines)
    notes: dict[str, Sequence[str]] = {
        "Not averaged over": table.lacking(results),
        "Warnings": warnings(results),
        "CLIPs": clips(results),
        "Published figures": render.sources(sections),
    }
    facts = f"Protocol {experiment.protocol}; {', '.join(results.datasets)}; {methods}; {len(runs)} trained models."
    return pages.markdown(
        "experiments/reporting/card.md.j2",
        header=header("", clip, license_id),
        tables=render.markdown(sections, experiment.title, about, notes),
        facts=facts,
        runs=runs,
        **how_to_load(repo, clip, runs[0]),
    )
