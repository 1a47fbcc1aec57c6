"""Results of runs with rounds that were never run, as train.py would write them; and runs that wait for labels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modprompt.experiments.plan.experiment import FEW_SHOT_RUNS, Experiment, Job
from modprompt.experiments.plan.protocols import jobs
from tests.modprompt.experiments.fakes import finish

COLUMNS = ("rank", "file", "predicted_class", "probability", "score", "reason", "label")


def record(accuracies: Sequence[float | None], classes: int = 10, **more: Sequence[Any]) -> dict[str, Any]:
    """What result.json has under `active`: a round for each accuracy; keywords replace a field, round by round."""
    rounds = []
    for number, accuracy in enumerate(accuracies):
        covered = min(classes, classes // 2 + 2 * number)
        one = {
            "round": number,
            "picked": classes,
            "free": 0,
            "asked": classes,
            "labels": classes * (number + 1),
            "images": classes * (number + 1),
            "accuracy_pct": accuracy,
            "new_accuracy_pct": None,
            "counts": [number + 1] * classes,
            "classes_covered": covered,
            "balance": round(covered / classes, 2),
            "wrong_free": 0,
            "picks_hash": f"picks{number}",
            "prompts_hash": f"prompts{number}",
            "elapsed_s": 1.5,
        }
        rounds.append({**one, **{key: values[number] for key, values in more.items()}})
    return {"method": "badge", "pcb": True, "gamma": 0.1, "budget": classes, "classes": classes, "rounds": rounds}


def finish_rounds(job: Job, out: Path, accuracies: Sequence[float | None], classes: int = 10, **more: Any) -> Path:
    """Write result.json of a run with rounds; the path. Keywords are record's."""
    rest = {"correct": 0, "images": 0} if accuracies[-1] is None else {}
    last: Any = accuracies[-1]
    if last is None:
        finish(job, out, 0.0)
    active = record(accuracies, classes, **more)
    split = {"name": job.dataset, "status": "ours", "hash": f"split of {job.dataset}"}
    facts = {"accuracy_pct": last, "active": active, "shots": -1, "split": split, **rest}
    return finish(job, out, last or 0.0, **facts)


def fill_rounds(found: Experiment, out: Path, accuracy: Any) -> None:
    """Finish every run of an experiment with rounds; `accuracy` gives the accuracies of a job's rounds, or of one that
    has none its accuracy; None leaves it out."""
    for job in jobs(found):
        value = accuracy(job)
        if value is None:
            continue
        if job.method.acquisition in ("", FEW_SHOT_RUNS):
            finish(job, out, value)
        else:
            finish_rounds(job, out, value)


def ask(folder: Path, labels: Sequence[str], number: int = 3, separator: str = ",") -> Path:
    """Have a run wait for labels in its folder; the CSV, whose column `label` holds what is given."""
    rounds = folder / "rounds"
    rounds.mkdir(parents=True, exist_ok=True)
    lines = [separator.join(COLUMNS)]
    for rank, label in enumerate(labels):
        reason = f'"entropy 0.9{separator} fewest labels"'
        lines.append(separator.join([str(rank + 1), f"a/{rank}.png", "one", "0.5", "0.9", reason, label]))
    file = rounds / f"round_{number}.csv"
    file.write_text("\n".join(lines) + "\n")
    facts = {"round": number, "file": file.name, "missing": list(labels).count(""), "of": len(labels)}
    (rounds / "waiting.json").write_text(json.dumps(facts))
    return file
