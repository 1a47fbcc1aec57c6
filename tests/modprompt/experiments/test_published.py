"""Published figures: with their own backbone, averages that are those of their data sets, and those of single seeds."""

import pytest

from modprompt.clip.known import OPENAI
from modprompt.experiments.plan import file as experiment_file
from modprompt.experiments.plan import protocols
from modprompt.experiments.reporting import published
from tests.modprompt.experiments.fakes import finish, runs_below


def test_few_shot_rows_say_their_backbone_and_their_shots():
    experiment = experiment_file.read(experiment_file.FOLDER / "few_shot.yaml")
    found = {one.label: one for one in published.rows(experiment, "dtd")}
    tip = found["Tip-Adapter (RN50)"]
    assert tip.numbers == {"1": 46.22, "2": 49.47, "4": 53.96, "8": 58.63, "16": 60.93}
    assert (
        "exp.log, line 44 (commit d0e2d6f); RN50, 1 to 16 shots, training: cache of 10 augmented passes" in tip.source
    )
    assert found["CLIP (RN50)"].numbers == {"0": 42.2}


def test_figures_of_imagenet_are_those_of_no_other_source():
    experiment = experiment_file.read(experiment_file.FOLDER / "cross_dataset.yaml")
    assert published.rows(experiment, "average")
    assert published.rows(experiment._replace(source="caltech256"), "average") == []
    assert published.note(experiment._replace(source="caltech256")) == ""


def test_published_seeds_are_distinct_and_of_one_split_per_data_set():
    table = published.read_seeds()
    assert not table.duplicated(["method", "set", "half", "seed"]).any()
    assert (table.correct <= table.total).all()
    assert (table.groupby(["set", "half"]).total.nunique() == 1).all()  # of one split


@pytest.mark.parametrize(
    ("method", "base", "new", "harmonic_mean"),
    [
        ("TCP", 84.12, 75.37, 79.51),
        ("SuPr", 84.14, 76.50, 80.14),
        ("SuPr Ens", 84.27, 77.02, 80.48),
        ("SuPr+PromptSRC", 84.64, 76.89, 80.58),
    ],
)
def test_published_seeds_have_the_averages_that_the_papers_print(method, base, new, harmonic_mean):
    table = published.read_seeds()
    own = table[table.method == method].assign(accuracy=lambda rows: 100 * rows.correct / rows.total)
    by_set = own.groupby(["half", "set"]).accuracy.agg(["count", "mean"])
    assert (by_set["count"] == 3).all()
    assert len(by_set.loc["base"]) == len(by_set.loc["new"]) == 11  # there is no average of fewer
    means = [by_set.loc[half, "mean"].mean() for half in ("base", "new")]
    assert [round(mean, 2) for mean in means] == [base, new]
    assert round(2 * means[0] * means[1] / sum(means), 2) == harmonic_mean


OF_EUROSAT = {"shots": 16, "images": 3900, "clip": {"sha256": OPENAI["ViT-B/16"].sha256}}
LINE = (
    "Mine on eurosat (new classes): the accuracy in this experiment is 71.00 to 73.00% (seeds 1, 2). The published "
    "accuracy is 67.46 to 79.64% (seeds 1, 2, 3)"
)


@pytest.mark.parametrize(
    ("change", "epochs", "published_as", "said"),
    [
        ({}, 50, "TCP", [f"{LINE} in htyao89/Textual-based_Class-aware_prompt_tuning 4456339."]),
        ({"clip": {"sha256": OPENAI["RN50"].sha256}}, 50, "TCP", []),
        ({"shots": 4}, 50, "TCP", []),
        ({"images": 3899}, 50, "TCP", []),
        ({}, 100, "TCP", []),
        ({}, 50, "CoOp", []),
    ],
)
def test_a_report_has_the_published_range_of_the_same_setting(experiment, tmp_path, change, epochs, published_as, said):
    method = f"Mine: {{trainer: TCP, config: vit_b16_ep100_ctxv1, published: {published_as}"
    found = experiment(
        "protocol: base2new\ndatasets: [eurosat]\nseeds: [1, 2]\nmethods:\n"
        f"  {method}, options: {{OPTIM.MAX_EPOCH: {epochs}}}}}\n"
    )
    for job in protocols.jobs(found):
        finish(job, tmp_path, 69 + 2 * job.seed, **{**OF_EUROSAT, **(change if job.seed == 2 else {})})
    assert published.compare_seeds(runs_below(found, tmp_path)) == said
