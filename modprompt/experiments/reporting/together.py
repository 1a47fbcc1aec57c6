"""What must be said of base and new classes: who cannot be tested on both together, and whose numbers are others'."""

from __future__ import annotations

from modprompt.experiments.plan.base2new import TOGETHER
from modprompt.experiments.plan.experiment import BASE2NEW, Experiment
from modprompt.experiments.reporting.results import Line, Results

_OTHER_CLASSES = (BASE2NEW, "cross_dataset")  # protocols that test classes of which no training image was seen


def notes(experiment: Experiment, results: Results) -> list[str]:
    """A line for each reason, with the methods that it is about."""
    bound = [line.label for line in results.lines if _is_bound(experiment, results, line)]
    others = dict.fromkeys(
        line.label
        for line, _, _, _, outcome in results.all()
        if experiment.protocol in _OTHER_CLASSES and (outcome.result or {}).get("class_bound")
    )
    texts = [f"No numbers of base and new together, since what is learned belongs to its classes: {', '.join(bound)}"]
    texts += [
        "On classes that were not trained, alone, what is learned of single classes has no say, and the accuracy is "
        f"that of the features before it: {', '.join(others)}"
    ]
    return [text for text, labels in zip(texts, (bound, others)) if labels]


def _is_bound(experiment: Experiment, results: Results, line: Line) -> bool:
    """Whether a method of the experiment, and not of another codebase's logs, is not asked for both together."""
    is_ours = line.label in {method.label for method in experiment.methods}
    asked = any(results.is_asked(line, column) for column in TOGETHER.values())
    return experiment.together and is_ours and not asked
