"""Published figures of few shots: with their own backbone, and averages that are those of their data sets."""

import numpy as np
import pytest

from modprompt.experiments.plan import spec
from modprompt.experiments.reporting import published


def test_few_shot_rows_say_their_backbone_and_their_shots():
    experiment = spec.read(spec.FILES / "few_shot.yaml")
    found = {one.label: one for one in published.rows(experiment, "dtd")}
    tip = found["Tip-Adapter (RN50)"]
    assert tip.numbers == {"1": 46.22, "2": 49.47, "4": 53.96, "8": 58.63, "16": 60.93}
    assert "exp.log line 44 (commit d0e2d6f); RN50, 1 to 16 shots, setting: 10 augmented passes" in tip.source
    assert found["CLIP (RN50)"].numbers == {"0": 42.2}


def test_averages_of_few_shots_are_those_of_their_data_sets():
    rows = [row for row in published.known()["rows"] if row["protocol"] == "few_shot"]
    for average in (row for row in rows if row["dataset"] == "average"):
        own = [row for row in rows if row["method"] == average["method"] and row["dataset"] != "average"]
        assert {row["dataset"] for row in own} == set(published.known()["averages_of"]["few_shot"])
        for shots in ("0", "1", "2", "4", "8", "16"):
            if shots in average:
                assert np.mean([row[shots] for row in own]) == pytest.approx(average[shots], abs=0.006)


def test_figures_of_imagenet_are_those_of_no_other_source():
    experiment = spec.read(spec.FILES / "cross_dataset.yaml")
    assert published.rows(experiment, "average")
    assert published.rows(experiment._replace(source="caltech256"), "average") == []
    assert published.note_of(experiment._replace(source="caltech256")) == ""
