"""Published figures of few shots: with their own backbone, and averages that are those of their data sets."""

from modprompt.experiments.plan import spec
from modprompt.experiments.reporting import published


def test_few_shot_rows_say_their_backbone_and_their_shots():
    experiment = spec.read(spec.FILES / "few_shot.yaml")
    found = {one.label: one for one in published.rows(experiment, "dtd")}
    tip = found["Tip-Adapter (RN50)"]
    assert tip.numbers == {"1": 46.22, "2": 49.47, "4": 53.96, "8": 58.63, "16": 60.93}
    assert "exp.log line 44 (commit d0e2d6f); RN50, 1 to 16 shots, setting: 10 augmented passes" in tip.source
    assert found["CLIP (RN50)"].numbers == {"0": 42.2}


def test_figures_of_imagenet_are_those_of_no_other_source():
    experiment = spec.read(spec.FILES / "cross_dataset.yaml")
    assert published.rows(experiment, "average")
    assert published.rows(experiment._replace(source="caltech256"), "average") == []
    assert published.note_of(experiment._replace(source="caltech256")) == ""
