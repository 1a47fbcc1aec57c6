"""Means, deviations and averages are the papers', and nothing is averaged over a run that is not there."""

import numpy as np
import pandas as pd
import pytest

from modprompt.experiments.plan import file as experiment_file
from modprompt.experiments.plan import protocols
from modprompt.experiments.reporting import notes, origins, published, tables
from modprompt.io.base_new import harmonic_mean
from tests.modprompt.experiments.fakes import (
    TWO,
    Cell,
    best,
    by_hand,
    edit,
    fill,
    finish,
    row,
    runs_below,
    summary_of,
    tables_of,
)


@pytest.mark.parametrize(("base", "new", "expected"), [(80.0, 60.0, 68.571), (50, 50, 50), (90.0, 0.0, 0.0), (0, 0, 0)])
def test_harmonic_mean_matches_hand_computation(base, new, expected):
    assert harmonic_mean(base, new) == pytest.approx(expected, abs=1e-3)
    (found,) = tables.harmonic_means(pd.Series([float(base)]), pd.Series([float(new)]))
    assert found == pytest.approx(expected, abs=1e-3)


def test_mean_and_deviation_over_seeds(experiment, tmp_path):
    found = experiment(TWO)
    fill(found, tmp_path, by_hand)
    sections, _ = tables_of(found, tmp_path)
    mpl = row(sections["eurosat"], "MPL")
    assert mpl["base"] == pytest.approx((90.0, np.sqrt(50 / 3)))
    assert mpl["new"] == pytest.approx((60.0, np.sqrt(50 / 3)))
    assert mpl["H"].mean == pytest.approx(harmonic_mean(90, 60))
    own = [harmonic_mean(b, b - 30) for b in (85, 90, 95)]
    assert mpl["H"].std == pytest.approx(np.std(own))
    assert row(sections["eurosat"], "CLIP")["base"] == (85.0, None)  # one seed has no deviation


def test_average_is_over_data_sets_seed_by_seed(experiment, tmp_path):
    found = experiment(TWO)
    fill(found, tmp_path, lambda job: by_hand(job) + (3 * job.seed if job.dataset == "dtd" else 0))
    sections, _ = tables_of(found, tmp_path)
    base = [(85 + 68) / 2, (90 + 76) / 2, (95 + 84) / 2]
    mpl = row(sections["average"], "MPL")
    assert mpl["base"] == pytest.approx((np.mean(base), np.std(base)))
    assert mpl["H"].mean == pytest.approx(harmonic_mean(np.mean(base), np.mean(base) - 30))


def test_missing_runs_are_listed_and_never_averaged_over(experiment, tmp_path):
    found = experiment(TWO)
    gone = ("MPL", "dtd", 2, "new")
    fill(
        found,
        tmp_path,
        lambda job: None if (job.method.label, job.dataset, job.seed, job.column) == gone else by_hand(job),
    )
    stale = next(job for job in protocols.jobs(found) if job.method.label == "MaPLe" and job.dataset == "eurosat")
    edit(finish(stale, tmp_path, 99.0), config_hash="other", settings={})
    sections, gathered = tables_of(found, tmp_path)
    assert row(sections["dtd"], "MPL")["base"] is not None
    assert row(sections["dtd"], "MPL")["new"] is row(sections["dtd"], "MPL")["H"] is None
    assert row(sections["average"], "MPL")["new"] is row(sections["average"], "MPL")["H"] is None
    assert row(sections["eurosat"], "MaPLe")["base"] is None
    assert row(sections["average"], "CLIP")["H"] is not None
    made = "the result was made with different settings ("
    first, second, third = notes.missing(gathered)
    assert first.startswith(f"MaPLe has no result on eurosat for base seed 1 (stale: {made}")
    assert second.startswith(
        f"MaPLe has no result on eurosat for new seed 1 (stale: its training is stale, because {made}"
    )
    assert third == "MPL has no result on dtd for new seed 2 (waiting)."


def test_best_is_among_the_measured_as_printed(experiment, tmp_path):
    found = experiment(TWO)
    fill(found, tmp_path, lambda job: 70.001 if job.method.label == "MPL" else 70.0 if job.column == "base" else 60.0)
    section = tables_of(found, tmp_path)[0]["eurosat"]
    assert list(section.rows["label"]) == ["CLIP", "MaPLe", "MaPLe, published", "MPL"]
    assert best(section) == {(0, 0), (1, 0), (3, 0), (3, 1), (3, 2)}


def test_published_rows_stand_beside_what_they_belong_to(experiment, tmp_path):
    found = experiment(TWO)
    sections, _ = tables_of(found, tmp_path)
    assert row(sections["eurosat"], "MaPLe, published")["H"] == Cell(82.35)
    assert not sections["average"].rows["source"].any()  # two data sets are not the eleven
    assert not sections["average"].details
    assert not published.note(found)
    whole = experiment_file.read(experiment_file.FOLDER / "base2new.yaml")._replace(joint_test=False)
    sections, _ = tables_of(whole, tmp_path)
    means = [cell.mean for cell in row(sections["average"], "CoCoOp, published").values()]
    assert means == [80.47, 71.69, 75.83]
    assert "MPL, published" not in {*sections["average"].rows["label"]}  # unknown cells stay empty
    assert "10.7% on EuroSAT" in published.note(whole)
    other = whole._replace(shots=(4,))
    for section in summary_of(other, tmp_path).tables:
        assert not section.rows["source"].any()
        assert not section.details


def test_published_methods_without_a_run_stand_in_a_table_of_their_own(experiment, tmp_path):
    whole = experiment_file.read(experiment_file.FOLDER / "base2new.yaml")._replace(joint_test=False)
    sections, _ = tables_of(whole, tmp_path)
    (block,) = sections["average"].details
    labels = list(block.rows["label"])
    assert "RPO, published" in labels
    assert not {"MaPLe, published", "CLIP, published", "KgCoOp, published"} & set(labels)
    assert best(block) == set()  # no number of others is the best
    assert row(block, "RPO, published")["H"].mean == 77.78
    sources = tables.sources(list(sections.values()))
    assert any(line.startswith("RPO, published: ") and line.endswith("; mean of the data sets' H.") for line in sources)
    (alone,) = tables_of(experiment(TWO), tmp_path)[0]["eurosat"].details
    taught = (
        "PromptKD (training saw unlabelled images and the names of new classes; selected on test images), published"
    )
    assert list(alone.rows["label"]) == ["LASP, published", taught]


CROSS = TWO.replace("base2new", "cross_dataset\nsource: imagenet")


def test_cross_data_set_averages_the_targets_alone(experiment, tmp_path):
    found = experiment(CROSS)
    fill(found, tmp_path, lambda job: {"imagenet": 10.0, "eurosat": 50.0, "dtd": 70.0}[job.dataset] + job.seed)
    (section,) = tables_of(found, tmp_path)[0].values()
    assert section.columns == ("imagenet", "eurosat", "dtd", "average")
    cells = row(section, "MPL")
    assert cells["imagenet"].mean == pytest.approx(12)
    assert cells["average"] == pytest.approx((62, np.std([1, 2, 3])))


def test_few_shot_columns(experiment, tmp_path):
    found = experiment(TWO.replace("base2new", "few_shot\nshots: [1, 4]"))
    fill(found, tmp_path, lambda job: 50.0 + int(job.column))
    sections, gathered = tables_of(found, tmp_path)
    assert sections["dtd"].columns == ("0", "1", "4")
    assert [cell and cell.mean for cell in row(sections["dtd"], "MPL").values()] == [None, 51.0, 54.0]
    assert [cell and cell.mean for cell in row(sections["average"], "CLIP").values()] == [50.0, None, None]
    assert notes.missing(gathered) == []  # what is not asked for is not lacking


PEOPLE = {"input": {"INPUT.DECODING": "photo"}}
NOT, OF = "The runs of these methods differ in", "and cannot be compared:"
FEW = {"few_shot": {"hash": "drawn/few"}, "split": {"hash": "one"}}
HELD_OUT = {"images_hash": "2:other", "selected_on": "held out", "few_shot": {"hash": "drawn/"}}


@pytest.mark.parametrize(
    ("every", "one", "said"),
    [
        (
            {},
            {"images_hash": "2:other"},
            f"{NOT} images (eurosat, base classes, 16 shots, seed 1) {OF} CLIP, MaPLe / MPL.",
        ),
        ({}, {"backbone_hash": "2:other"}, f"{NOT} CLIP weights (ViT-B/16) {OF} CLIP, MaPLe, MPL / MPL."),
        ({}, PEOPLE, f"{NOT} image decoding (eurosat) {OF} CLIP, MaPLe, MPL / MPL."),
        (FEW, HELD_OUT, ""),  # validation alone
        (
            FEW,
            {"few_shot": {"hash": "others/"}},
            f"{NOT} few-shot images (eurosat, base classes, 16 shots, seed 1) {OF} CLIP, MaPLe / MPL.",
        ),
    ],
)
def test_numbers_that_do_not_belong_together_are_named(every, one, said, experiment, tmp_path):
    found = experiment(TWO.replace("[eurosat, dtd]", "[eurosat]"))
    fill(found, tmp_path, by_hand)
    paths = {job: tmp_path / job.folder / "result.json" for job in protocols.jobs(found)}
    for path in paths.values():
        edit(path, **every)
    edit(next(path for job, path in paths.items() if job.method.label == "MPL"), **one)
    assert notes.warnings(runs_below(found, tmp_path)) == ([said] if said else [])


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        ({"backbone_hash": "2:a"}, {"backbone_hash": "2:b"}, "CLIP weights (2:a: "),
        ({"split": {"hash": "a"}}, {"split": {"hash": "b"}}, "split of eurosat (a: "),
        ({}, PEOPLE, "image decoding of eurosat (dassl: base seed 1, new seed 1 / photo: base seed 2, "),
        ({"backbone_hash": "2:a"}, {"backbone_hash": "b"}, ""),  # hashes of two versions, which say nothing
        ({"split": {"hash": "a"}}, {"split": {}}, ""),
    ],
)
def test_of_seeds_with_other_weights_splits_or_reading_there_is_no_mean(experiment, tmp_path, one, other, why):
    found = experiment(TWO.replace("[eurosat, dtd]", "[eurosat]"))
    for job in protocols.jobs(found):
        finish(job, tmp_path, 80.0, **(other if job.seed > 1 else one))
    sections, gathered = tables_of(found, tmp_path)
    assert (row(sections["eurosat"], "MPL")["base"] is None) == bool(why)
    lines = [line for line in notes.missing(gathered) if line.startswith("MPL ")]
    assert len(lines) == bool(why)
    assert all(line.startswith(f"MPL on eurosat has no mean because the runs differ in {why}") for line in lines)


def test_test_images_and_split_stand_under_a_table(experiment, tmp_path):
    found = experiment(TWO)
    fill(found, tmp_path, by_hand)
    abouts = {key: section.about for key, section in tables_of(found, tmp_path)[0].items()}
    assert abouts["dtd"] == "Number of test images: 1,000 (base and new)."
    whole = "1,000 (eurosat base and new), 1,000 (dtd base and new)"
    assert abouts["average"] == f"Number of test images: {whole}."
    runs = runs_below(found, tmp_path)
    assert (tables.worth_of_image(runs, "dtd"), tables.worth_of_image(runs, "average")) == ([0.1], [0.05])  # points
    for job in protocols.jobs(found):
        status = "published" if job.dataset == "dtd" else "ours"
        images = 400 if job.column == "new" else 1000
        split = {"name": "Some", "status": status, "hash": "0"}
        edit(tmp_path / job.folder / "result.json", split=split, images=images)
    edit(tmp_path / job.folder / "result.json", selected_on="validation")
    sections = tables_of(found, tmp_path)[0]
    assert tables.worth_of_image(runs_below(found, tmp_path), "dtd") == [0.1, 0.25]
    expected = "Number of test images: 1,000 (base), 400 (new). "
    expected += f"Split: published. {job.method.label}: selected on validation."
    assert sections["dtd"].about == expected
    assert f"|\n\n{expected}\n" in tables.markdown(list(sections.values()), "Title", "about", {})
    assert f"dtd. {expected} about" in tables.latex(list(sections.values()), "Title", "about")


FEWER, WARM = "class forest has 15 of 16 images", "all 2 epochs are warm-up at 1e-05"


def test_what_trainings_say_of_themselves_stands_beside_their_data_set_once(experiment, tmp_path):
    found = experiment(TWO)
    fill(found, tmp_path, by_hand)
    for job in protocols.jobs(found):
        if job.dataset == "eurosat" and job.kind == "training":
            notes = [FEWER, WARM] if job.method.label == "MPL" else [FEWER]
            edit(tmp_path / job.folder / "result.json", notes=notes)
    sections, _ = tables_of(found, tmp_path)
    assert sections["eurosat"].about.endswith(f" (base and new). MPL: {WARM}. MaPLe, MPL: {FEWER}.")
    assert not any(WARM in sections[key].about for key in ("dtd", "average"))
    text = tables.markdown(list(sections.values()), "Title", "about", {})
    assert text.count(WARM) == text.count(FEWER) == 1
    content = origins.report_content(summary_of(found, tmp_path), pd.DataFrame())
    told = {(one["method"], one["column"]): one.get("notes") for one in content["runs"] if one["dataset"] == "eurosat"}
    assert told["MPL", "base"] == told["MPL", "new"] == [FEWER, WARM]  # tests are of that training
    assert told["CLIP", "base"] is None


def test_clips_of_a_report_say_how_they_were_run(experiment, tmp_path):
    found = experiment(TWO)
    one = {"name": "ViT-H-14/dfn5b", "dialect": "open_clip", "activation": "quick_gelu", "heads": [16, 16]}
    other = {"file": "w.pt", "fingerprint": "2:b"}
    for job in protocols.jobs(found):
        clip = {**one, "commit": "1" * 40, "fingerprint": "2:a"} if job.method.label == "MPL" else other
        finish(job, tmp_path, 80.0, clip=clip)
    first, second = sorted(notes.clip_models(runs_below(found, tmp_path)))
    assert first == (
        f"ViT-H-14/dfn5b@{'1' * 40} (weights: open_clip, activation quick_gelu, 16 and 16 attention heads, "
        "fingerprint 2:a): MPL."
    )
    assert second.startswith("w.pt (fingerprint 2:b): ")
