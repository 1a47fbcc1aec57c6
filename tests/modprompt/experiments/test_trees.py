"""Folders of the scripts of CoOp, MaPLe, PromptSRC and the official MPL are recognised."""

import pytest

from modprompt.experiments.reporting import trees
from tests.modprompt.experiments.fakes import write_log

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
    assert found == (*expected, tmp_path / path)


def test_tested_base_counts_only_where_nothing_was_trained(tmp_path):
    for half in ("test_base", "train_base", "test_new"):
        write_log(tmp_path / "base2new" / half / "dtd/shots_16/MaPLe/cfg/seed1", 500)
    found = trees.discover(tmp_path, "base2new")
    assert sorted(run.folder.relative_to(tmp_path).parts[1] for run in found) == ["test_new", "train_base"]


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
