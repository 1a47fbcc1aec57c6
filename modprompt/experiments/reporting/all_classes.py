"""What must be said of base and new classes: who cannot be tested on new ones, and whose numbers are others'."""

from __future__ import annotations

from modprompt.experiments.plan.base2new import ALONE
from modprompt.experiments.plan.experiment import ACTIVE, BASE2NEW, Experiment
from modprompt.experiments.reporting.results import Results

_OTHER_CLASSES = (BASE2NEW, "cross_dataset", ACTIVE)  # protocols that test classes of which no training image was seen


def notes(experiment: Experiment, results: Results) -> list[str]:
    """A line for each reason, with the methods that it is about."""
    bound = [line.label for line in results.lines if not all(results.is_asked(line, column) for column in ALONE)]
    others = dict.fromkeys(
        line.label
        for line, _, _, _, outcome in results.all()
        if experiment.protocol in _OTHER_CLASSES and (outcome.result or {}).get("class_bound")
    )
    bound = bound if experiment.protocol == BASE2NEW else []
    texts = [f"No numbers of new classes, since what is learned belongs to its own: {', '.join(bound)}"]
    texts += [
        "On classes that were not trained, alone, what is learned of single classes has no say, and the accuracy is "
        f"that of the features before it: {', '.join(others)}"
    ]
    return [text for text, labels in zip(texts, (bound, others)) if labels]
