"""The map of image features: which runs store features, what the figure shows, and what is reported without features."""

import numpy as np
import pytest

from modprompt.experiments.plan import file as experiment_file
from modprompt.experiments.plan import protocols
from modprompt.experiments.plan.commands import expected_settings, options
from modprompt.experiments.reporting import report
from modprompt.io import run_files
from modprompt.io.arrays import write_arrays
from modprompt.io.files import sha256_of
from tests.conftest import one_line
from tests.modprompt.experiments.fakes import finish

TEXT = """
protocol: base2new
datasets: [digits, mnist5k]
seeds: [2, 3]
methods:
  CLIP: {trainer: ZeroshotCLIP, config: glyph}
  MPL: {trainer: MPL, config: glyph}
"""
NAMES = ("zero", "one", "two")


def storing(experiment, out) -> list[str]:
    """Return the titles of the runs that store image features."""
    return [job.title for job in protocols.jobs(experiment) if "TEST.KEEP_FEATURES" in options(job, out)]


@pytest.mark.parametrize(
    ("figures", "titles"),
    [
        ("{features: {}}", ["MPL, digits base, seed 2 (train)", "MPL, digits new, seed 2 (test)"]),
        (
            "{features: {method: CLIP, dataset: mnist5k}}",
            ["CLIP, mnist5k base, seed 2 (test)", "CLIP, mnist5k new, seed 2 (test)"],
        ),
    ],
)
def test_only_runs_in_the_figure_store_features_and_no_run_becomes_stale(experiment, tmp_path, figures, titles):
    plain, shown = experiment(TEXT), experiment(f"{TEXT}figures: {figures}\n")
    assert storing(plain, tmp_path) == []
    assert storing(shown, tmp_path) == titles
    before, after = ([expected_settings(job, tmp_path) for job in protocols.jobs(one)] for one in (plain, shown))
    assert before == after


def test_a_run_of_several_parts_stores_features_if_one_part_shows_them(experiment, tmp_path):
    part = "{protocol: base2new, datasets: [digits]"
    parts = f"parts:\n  one: {part}}}\n  two: {part}, figures: {{features: {{}}}}}}\n"
    path = tmp_path / "parts.yaml"
    path.write_text(TEXT.replace("protocol: base2new\ndatasets: [digits, mnist5k]\n", "") + parts)
    found = protocols.jobs(*experiment_file.read_plan(path).parts)
    assert [job.title for job in found if job.keeps_features] == [
        "MPL, digits base, seed 2 (train)",
        "MPL, digits new, seed 2 (test)",
    ]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("{features: {}}", "{feature: {}}", "figures: unknown key 'feature'. Did you mean 'features'?"),
        ("{features: {}}", "{features: {method: MLP}}", "figures: features: method: unknown value 'MLP'"),
        ("{features: {}}", "{features: {dataset: dtd}}", "figures: features: dataset: unknown value 'dtd'"),
        ("{features: {}}", "{features: {projection: umap}}", "projection: unknown value 'umap'"),
        ("protocol: base2new", "protocol: validation", "figures: protocol validation does not support this key"),
    ],
)
def test_mistakes_in_the_key_are_one_line(experiment, old, new, said):
    with one_line(said):
        experiment(f"{TEXT}figures: {{features: {{}}}}\n".replace(old, new))


def leave(job, out, with_features: bool) -> None:
    """Write the files of a finished run on 30 images, of which two were classified wrongly."""
    folder = out / job.folder
    labels = np.arange(30) % 3
    predicted = np.where(np.arange(30) < 2, (labels + 1) % 3, labels)
    confusion = np.zeros((3, 3), int)
    np.add.at(confusion, (labels, predicted), 1)
    files = run_files.write_test(folder, run_files.TestParts(NAMES, confusion, np.zeros((15, 3)), []))
    if with_features:
        path = run_files.path_of_test(folder, run_files.FEATURES)
        features = np.eye(8, dtype=np.float32)[labels] + np.random.default_rng(0).normal(0, 0.1, (30, 8))
        write_arrays(path, features=features.astype(np.float32), labels=labels, predicted=predicted)
        files[run_files.FEATURES] = sha256_of(path)
    finish(job, out, 93.33, test_files=files)


@pytest.mark.parametrize(
    ("projection", "said"), [("pca", "with PCA. Each"), ("tsne", "with t-SNE (scikit-learn, random_state 0). Each")]
)
def test_report_has_the_figure_or_names_the_run_without_features(experiment, tmp_path, capsys, projection, said):
    found = experiment(f"{TEXT}figures: {{features: {{projection: {projection}}}}}\n")
    for with_features in (True, False):
        out = tmp_path / str(with_features)
        for job in protocols.jobs(found):
            leave(job, out, with_features and job.keeps_features)
        assert report.main([str(tmp_path / "small.yaml"), "--out", str(out)]) == 0
        folder, text = out / "reports/small", capsys.readouterr().out
        page = (folder / "index.html").read_text()
        missing = "The figure of image features is missing, because the finished run"
        assert (folder / "features.png").is_file() == with_features
        assert (said in page) == with_features
        assert (missing in text) == (missing in page) == (not with_features)
