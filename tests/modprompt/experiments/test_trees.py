"""Folders of the scripts of CoOp, MaPLe, PromptSRC and the official MPL are recognised."""

import pytest

from modprompt.experiments.plan import protocols
from modprompt.experiments.reporting import alike, cost, figures, report, tables, trees
from tests.modprompt.experiments.fakes import finish, results_below, write_log

PATHS = [
    ("base2new", "base2new/train_base/dtd/shots_16/MaPLe/cfg/seed1", ("MaPLe", "cfg", 16, "dtd", "base", 1)),
    ("base2new", "base2new/test_new/dtd/shots_16/MaPLe/cfg/seed2", ("MaPLe", "cfg", 16, "dtd", "new", 2)),
    ("base2new", "base2new/test_base/dtd/shots_16/CoCoOp/cfg/seed3", ("CoCoOp", "cfg", 16, "dtd", "base", 3)),
    (
        "few_shot",
        "dtd/CoOp/rn50_4shots/nctx16_cscFalse_ctpend/seed1",
        ("CoOp", "rn50/nctx16_cscFalse_ctpend", 4, "dtd", "4", 1),
    ),
    ("few_shot", "dtd/MPL/eval/cfg_2shots/seed1", ("MPL", "cfg", 2, "dtd", "2", 1)),
    ("few_shot", "few_shot/dtd/PromptSRC/cfg_8shots/seed1", ("PromptSRC", "cfg", 8, "dtd", "8", 1)),
    ("few_shot", "ZeroshotCLIP/rn50/dtd", ("ZeroshotCLIP", "rn50", 0, "dtd", "0", 0)),
    ("few_shot", "ZeroshotCLIP2/rn50/dtd", ("ZeroshotCLIP2", "rn50", 0, "dtd", "0", 0)),
    ("cross_dataset", "imagenet/MaPLe/cfg_16shots/seed1", ("MaPLe", "cfg", 16, "imagenet", "accuracy", 1)),
    ("cross_dataset", "evaluation/MaPLe/cfg_16shots/dtd/seed1", ("MaPLe", "cfg", 16, "dtd", "accuracy", 1)),
    ("cross_dataset", "crossdataset/imagenet/MPL/cfg_16shots/seed1", ("MPL", "cfg", 16, "imagenet", "accuracy", 1)),
    ("cross_dataset", "crossdataset/evaluation/dtd/MPL/cfg_16shots/seed1", ("MPL", "cfg", 16, "dtd", "accuracy", 1)),
    (
        "domain_generalisation",
        "evaluation/CoOp/rn50_16shots/nctx16_cscFalse_ctpend/imagenet_a/seed1",
        ("CoOp", "rn50/nctx16_cscFalse_ctpend", 16, "imagenet_a", "accuracy", 1),
    ),
]


@pytest.mark.parametrize(("protocol", "path", "expected"), PATHS, ids=[path for _, path, _ in PATHS])
def test_path_of_a_run(tmp_path, protocol, path, expected):
    write_log(tmp_path / path, 500)
    (found,) = trees.discover(tmp_path, protocol)
    assert found[:7] == (*expected, tmp_path / path)
    assert found.tests == ("test_" in path or "evaluation/" in path)
    assert found.others == ()


def test_tested_base_counts_only_where_nothing_was_trained(tmp_path):
    for half in ("test_base", "train_base", "test_new"):
        write_log(tmp_path / "base2new" / half / "dtd/shots_16/MaPLe/cfg/seed1", 500)
    found = trees.discover(tmp_path, "base2new")
    assert sorted(run.folder.relative_to(tmp_path).parts[1] for run in found) == ["test_new", "train_base"]
    (base,) = [run for run in found if run.column == "base"]
    assert [folder.relative_to(tmp_path).parts[1] for folder in base.others] == ["test_base"]


XD = """
protocol: cross_dataset
source: dtd
datasets: [eurosat]
seeds: [1]
methods:
  CLIP: {trainer: ZeroshotCLIP, config: vit_b16}
"""
ON = {
    "cross_dataset": "evaluation/MaPLe/cfg_16shots/eurosat/seed1",
    "base2new": "base2new/test_new/dtd/shots_16/MaPLe/cfg/seed1",
}


def outcome(experiment, text, root, dataset, column, label="MaPLe (theirs)"):
    found = experiment(text)
    results = results_below(found, root / "none")
    trees.add_tree(results, found, root, "theirs")
    (line,) = [one for one in results.lines if one.label == label]
    return results.outcomes(line, dataset, column)[1], line, results


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ("output/dtd/MaPLe/cfg_16shots/seed1/MultiModalPromptLearner/model.pth.tar-2", ""),
        ("C:\\output\\crossdataset\\dtd\\MaPLe\\cfg_16shots\\seed1", ""),
        ("output/caltech101/MaPLe/cfg_16shots/seed1", "it tested a model trained on caltech101, not dtd"),
        ("output/dtd/MaPLe/cfg_16shots/seed2/x/model.pth.tar-2", "it tested a model of seed 2, not 1"),
        ("output/dtd/MaPLe/cfg_4shots/seed1", "it tested a model of shots 4, not 16"),
        ("weights/maple", "its log does not say what the tested model was trained on"),
        ("", "its log does not say what the tested model was trained on"),
    ],
)
def test_a_test_counts_for_the_source_that_its_log_names(experiment, tmp_path, model, why):
    write_log(tmp_path / ON["cross_dataset"], 500, model=model)
    found, _, _ = outcome(experiment, XD, tmp_path, "eurosat", "accuracy")
    assert (found.accuracy_pct, found.reason) == ((None, why) if why else (50.0, ""))


@pytest.mark.parametrize(("trained_on", "number"), [("dtd", 50.0), ("eurosat", None)])
def test_a_test_of_new_classes_is_of_its_own_training(experiment, tmp_path, trained_on, number):
    model = f"out/base2new/train_base/{trained_on}/shots_16/MaPLe/cfg/seed1/x/model.pth.tar-5"
    write_log(tmp_path / ON["base2new"], 500, model=model)
    text = XD.replace("cross_dataset", "base2new").replace("source: dtd\n", "").replace("[eurosat]", "[dtd]")
    assert outcome(experiment, text, tmp_path, "dtd", "new")[0].accuracy_pct == number


def test_of_two_folders_of_a_seed_the_plain_name_counts_and_the_other_is_said(experiment, tmp_path):
    text = XD.replace("cross_dataset", "few_shot").replace("source: dtd\n", "") + "shots: [16]\n"
    place = tmp_path / "eurosat/MaPLe/cfg_16shots"
    write_log(place / "seed1_old", 500)
    found, _, _ = outcome(experiment, text, tmp_path, "eurosat", "16")
    assert (found.accuracy_pct, found.reason) == (
        None,
        f"there is no seed1, but {place / 'seed1_old'}, which is not read",
    )
    write_log(place / "seed1", 900)
    found, _, results = outcome(experiment, text, tmp_path, "eurosat", "16")
    assert found.accuracy_pct == 90.0
    said = f"MaPLe (theirs), eurosat: 16 seed 1: {place / 'seed1_old'} has 50.00"
    assert alike.warnings(results) == [said]


@pytest.mark.parametrize("shots", ["0", "-1"])
def test_trainings_on_all_images_are_a_row_of_their_own(experiment, tmp_path, shots):
    text = XD.replace("cross_dataset", "base2new").replace("source: dtd\n", "").replace("[eurosat]", "[dtd]")
    for where, correct in (("16", 500), (shots, 900)):
        write_log(tmp_path / f"base2new/train_base/dtd/shots_{where}/MaPLe/cfg/seed1", correct, trained=True)
    found, line, results = outcome(experiment, text, tmp_path, "dtd", "base", "MaPLe cfg, all images (theirs)")
    assert (found.accuracy_pct, results.said(line, ["dtd"], (1,))) == (90.0, "trained on all images")
    assert outcome(experiment, text, tmp_path, "dtd", "base", "MaPLe cfg (theirs)")[0].accuracy_pct == 50.0


FEW = """
protocol: few_shot
datasets: [dtd]
shots: [1, 4]
seeds: [1]
methods:
  CLIP: {trainer: ZeroshotCLIP, config: vit_b16}
  MPL: {trainer: MPL, config: vit_b4_c1_add2_rm1}
"""


@pytest.fixture
def with_tree(experiment, tmp_path):
    """Runs of ours of 1 and 4 shots, and beside them those of a tree with trainings on 1, 4, 8 and all images."""

    def make(shots="-1"):
        for number, correct in (("1", 500), ("4", 600), ("8", 650), (shots, 900)):
            write_log(tmp_path / f"tree/dtd/MaPLe/cfg_{number}shots/seed1", correct, trained=True)
        write_log(tmp_path / f"tree/dtd/CoOp/cfg_{shots}shots/seed1", 800, trained=True)
        write_log(tmp_path / "tree/eurosat/MaPLe/cfg_1shots/seed1", 800, trained=True)
        found = experiment(FEW)
        for job in protocols.jobs(found):
            seconds = {"training_s": 3.0, "testing_s": 1.0, "trained_parameters": 8}
            finish(job, tmp_path / "out", 50.0 + int(job.column), **seconds)
        results = results_below(found, tmp_path / "out")
        trees.add_tree(results, found, tmp_path / "tree", "theirs")
        return found, results

    return make


@pytest.mark.parametrize("shots", ["0", "-1"])
def test_few_shot_trainings_on_all_images_have_a_column(with_tree, shots):
    found, results = with_tree(shots)
    (section,) = report.tables_of(found, results).sections
    assert section.columns == ("0", "1", "4", "all")
    means = {row.name: [cell and cell.mean for cell in row.cells] for row in section.rows if not row.source}
    assert means == {
        "CLIP": [50.0, None, None, None],
        "MPL": [None, 51.0, 54.0, None],
        "MaPLe (theirs)": [None, 50.0, 60.0, 90.0],
        "CoOp (theirs)": [None, None, None, 80.0],
    }
    assert tables.lacking(results) == []
    assert "all: trained on all images." in tables.caption(found, [section])
    of = {one.label: one for one in cost.costs(found, results, [section])}
    assert cost.accuracy_name([section]) == "accuracy with 4 shots (%), dtd"
    assert (of["MPL"].accuracy.mean, of["MPL"].training_s.mean) == (54.0, 3.0)
    assert (of["MaPLe (theirs)"].accuracy.mean, of["CoOp (theirs)"].accuracy) == (60.0, None)


def test_all_images_are_points_behind_the_last_shots(with_tree, tmp_path, drawn):
    found, results = with_tree()
    numbers, sections, _ = report.tables_of(found, results)
    measured = figures.Measured(found, results, numbers, sections, figures.looks([(found, results)]))
    caption = figures.shots(measured, tmp_path / "curves.png")
    assert "all: trained on all images" in caption
    (axes,) = [one for one in drawn["curves.png"].axes if one.get_title()]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "4", "all"]
    points = {
        (tuple(line.get_xdata()), tuple(line.get_ydata()), line.get_linestyle() == "None")
        for bars in axes.containers
        if len((line := bars.lines[0]).get_xdata())
    }
    assert points == {
        ((1, 4), (51.0, 54.0), False),
        ((1, 4), (50.0, 60.0), False),
        ((16,), (90.0,), True),
        ((16,), (80.0,), True),
    }


def test_runs_of_a_tree_without_a_place_in_the_report_are_named(with_tree, capsys):
    with_tree()
    assert capsys.readouterr().err == "warning: theirs: this report has no place for its eurosat, 8 shots\n"


def test_few_shot_tree_of_trainings_on_all_images_alone(tmp_path, capsys):
    write_log(tmp_path / "tree/dtd/MaPLe/cfg_-1shots/seed1", 900, trained=True)
    assert report.main([str(tmp_path / "tree"), "--protocol", "few_shot", "--out", str(tmp_path / "out")]) == 0
    assert "| method | all |\n| --- | --- |\n| MaPLe (logs) | 90.00 |" in capsys.readouterr().out


def test_runs_of_another_protocol_and_put_aside_are_left_alone(tmp_path):
    for path in (
        "evaluation/MaPLe/cfg_16shots/dtd/seed1",
        "x/y",
        "CoOp/rn50/dtd",
        "base2new/test_new/dtd/shots_16/MaPLe/cfg/seed1.stale-2026",
    ):
        write_log(tmp_path / path, 500)
    assert trees.discover(tmp_path, "few_shot") == []
    assert trees.discover(tmp_path, "base2new") == []


def test_few_shot_runs_are_no_cross_data_set_runs_and_the_other_way_round(tmp_path):
    for path in ("imagenet", "caltech101"):
        write_log(tmp_path / path / "CoOp/vit_16shots/nctx16/seed1", 500)
    write_log(tmp_path / "evaluation/CoOp/vit_16shots/nctx16/caltech101/seed1", 500)
    write_log(tmp_path / "crossdataset/imagenet/MPL/cfg_16shots/seed1", 500)
    found = trees.discover(tmp_path, "cross_dataset")
    folders = [run.folder.relative_to(tmp_path).parts[0] for run in found]
    assert sorted(folders) == ["crossdataset", "evaluation", "imagenet"]
    found = trees.discover(tmp_path, "few_shot")
    assert sorted((run.dataset, run.trainer) for run in found) == [("caltech101", "CoOp"), ("imagenet", "CoOp")]


def test_output_folders_inside_another_are_not_mixed_into_it(tmp_path):
    for top in ("", "demo"):
        write_log(tmp_path / top / "base2new/test_new/dtd/shots_16/MaPLe/cfg/seed1", 500)
        write_log(tmp_path / top / "dtd/MPL/eval/cfg_2shots/seed1", 500)
    for protocol in ("base2new", "few_shot"):
        (found,) = trees.discover(tmp_path, protocol)
        assert "demo" not in found.folder.relative_to(tmp_path).parts
