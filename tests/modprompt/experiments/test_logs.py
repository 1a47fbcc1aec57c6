"""Output trees of the scripts of CoOp, MaPLe, PromptSRC and the official MPL, and what their logs say."""

import json
import os
import re

import pytest

from modprompt.cli import train
from modprompt.experiments.reporting import report
from modprompt.experiments.reporting.logs import discover, read_run
from tests.modprompt.experiments.fakes import write_log


@pytest.mark.parametrize(
    ("protocol", "path", "expected"),
    [
        ("base2new", "base2new/train_base/dtd/shots_16/MaPLe/cfg/seed1", ("MaPLe", "cfg", 16, "dtd", "base", 1)),
        ("base2new", "base2new/test_new/dtd/shots_16/MaPLe/cfg/seed2", ("MaPLe", "cfg", 16, "dtd", "new", 2)),
        ("base2new", "base2new/test_base/dtd/shots_16/CoCoOp/cfg/seed3", ("CoCoOp", "cfg", 16, "dtd", "base", 3)),
        ("base2new", "base2new/SuPr/cfg/train_base/dtd/shots_16/seed1", ("SuPr", "cfg", 16, "dtd", "base", 1)),
        ("base2new", "base2new/SuPr/cfg/test_new/dtd/shots_16/seed2", ("SuPr", "cfg", 16, "dtd", "new", 2)),
        ("few_shot", "dtd/CoOp/rn50_4shots/nctx16_ctpend/seed1", ("CoOp", "rn50/nctx16_ctpend", 4, "dtd", "4", 1)),
        ("few_shot", "dtd/MPL/eval/cfg_2shots/seed1", ("MPL", "cfg", 2, "dtd", "2", 1)),
        ("few_shot", "few_shot/dtd/PromptSRC/cfg_8shots/seed1", ("PromptSRC", "cfg", 8, "dtd", "8", 1)),
        ("few_shot", "ZeroshotCLIP/rn50/dtd", ("ZeroshotCLIP", "rn50", 0, "dtd", "0", 0)),
        ("cross_dataset", "imagenet/MaPLe/cfg_16shots/seed1", ("MaPLe", "cfg", 16, "imagenet", "accuracy", 1)),
        ("cross_dataset", "evaluation/MaPLe/cfg_16shots/dtd/seed1", ("MaPLe", "cfg", 16, "dtd", "accuracy", 1)),
        ("cross_dataset", "crossdataset/imagenet/MPL/cfg_16shots/seed1", ("MPL", "cfg", 16, "imagenet", "accuracy", 1)),
        (
            "cross_dataset",
            "crossdataset/evaluation/dtd/MPL/cfg_16shots/seed1",
            ("MPL", "cfg", 16, "dtd", "accuracy", 1),
        ),
        (
            "domain_generalisation",
            "evaluation/CoOp/rn50_16shots/nctx16_ctpend/imagenet_a/seed1",
            ("CoOp", "rn50/nctx16_ctpend", 16, "imagenet_a", "accuracy", 1),
        ),
    ],
)
def test_path_of_a_run(tmp_path, protocol, path, expected):
    write_log(tmp_path / path, 500)
    assert discover(tmp_path, protocol) == {expected: tmp_path / path}


def test_tested_base_counts_only_where_nothing_was_trained(tmp_path):
    for half in ("test_base", "train_base"):
        write_log(tmp_path / "base2new" / half / "dtd/shots_16/MaPLe/cfg/seed1", 500)
    (folder,) = discover(tmp_path, "base2new").values()
    assert folder.relative_to(tmp_path).parts[1] == "train_base"


def test_runs_of_another_protocol_put_aside_or_of_a_tree_inside_are_left_alone(tmp_path):
    for path in (
        "evaluation/MaPLe/cfg_16shots/dtd/seed1",
        "CoOp/rn50/dtd",
        "demo/dtd/MPL/eval/cfg_2shots/seed1",
        "dtd/MPL/eval/cfg_2shots/seed1_old",
        "base2new/test_new/dtd/shots_16/MaPLe/cfg/seed1.stale-2026",
        "demo/base2new/test_new/dtd/shots_16/MaPLe/cfg/seed1",
    ):
        write_log(tmp_path / path, 500)
    assert discover(tmp_path, "few_shot") == discover(tmp_path, "base2new") == {}


def test_few_shot_runs_are_no_cross_data_set_runs_and_the_other_way_round(tmp_path):
    for path in ("imagenet", "caltech101"):
        write_log(tmp_path / path / "CoOp/vit_16shots/nctx16/seed1", 500)
    write_log(tmp_path / "evaluation/CoOp/vit_16shots/nctx16/caltech101/seed1", 500)
    write_log(tmp_path / "crossdataset/imagenet/MPL/cfg_16shots/seed1", 500)
    across = discover(tmp_path, "cross_dataset").values()
    assert sorted(path.relative_to(tmp_path).parts[0] for path in across) == ["crossdataset", "evaluation", "imagenet"]
    few = discover(tmp_path, "few_shot")
    assert sorted((run.dataset, run.trainer) for run in few) == [("caltech101", "CoOp"), ("imagenet", "CoOp")]


def theirs(root, finished=True):
    """An output folder as MaPLe's scripts leave it; unless it is finished one run has crashed."""
    for dataset in ("eurosat", "dtd"):
        for seed in (1, 2, 3):
            tail, whole = f"{dataset}/shots_16/MaPLe/vit/seed{seed}", finished or (dataset, seed) != ("dtd", 3)
            write_log(root / "base2new/train_base" / tail, 800 + seed, trained=True)
            write_log(root / "base2new/test_new" / tail, 700, finished=whole)
    return root


@pytest.mark.usefixtures("unpainted")
def test_output_folder_alone_is_reported_from_its_logs(tmp_path, capsys):
    words = [str(theirs(tmp_path / "maple")), "--out", str(tmp_path / "out")]
    assert report.main([*words, "--seeds", "1", "2"]) == 0
    out = capsys.readouterr().out
    assert "# Results of maple" in out
    assert "| MaPLe (logs) | 80.15 ± 0.05 | 70.00 ± 0.00 | 74.73 ± 0.02 |" in out
    assert "## average over 2 data sets" in out
    assert report.main(words) == 0
    assert "over seeds 1, 2, 3" in capsys.readouterr().out  # those that it has


# ---------------------------------------------------------------------- logs

RESULT = "=> result\n* total: {}\n* correct: {}\n* accuracy: {}%\n"
TEST = "Evaluate on the *test* set\n" + RESULT.format("3,000", "1,999", 66.6)


@pytest.mark.parametrize(
    ("text", "accuracy"),
    [
        (TEST, 100 * 1999 / 3000),  # exact where the log rounds it
        (TEST + RESULT.format(10, 1, 10.0), 10.0),  # the last
        (f"{TEST}Evaluate on the *val* set\n{RESULT.format(10, 9, 90.0)}", 100 * 1999 / 3000),
        (f"epoch [1/2] x\n{TEST}Finished training\n=> result\n* accuracy: 70.25%\n", 70.25),
    ],
)
def test_the_last_result_on_test_images_counts(text, accuracy, tmp_path):
    (tmp_path / "log.txt").write_text(text)
    assert read_run(tmp_path) == (pytest.approx(accuracy), "")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("epoch [1/2]\nRuntimeError: out of memory\n\n", "unfinished; the log ends with: RuntimeError: out of memory"),
        (
            f"epoch [1/2] x\n{TEST}epoch [2/2] x",
            "unfinished; the log ends with: epoch [2/2] x",
        ),  # a result before the end
        (
            f"epoch [1/1] x\nFinish training\n{TEST}epoch [1/2] x",
            "unfinished; the log ends with: epoch [1/2] x",
        ),  # started again
        ("=> result\n* accuracy: 1.0.0%\n", "the log is damaged: could not convert string to float: '1.0.0'"),
        (RESULT.format(5, 9, 1), "the log is damaged: accuracy 180%"),
        (f"Do evaluation on val set\n{RESULT.format(10, 9, 90.0)}", "the log has an accuracy on val images only"),
    ],
)
def test_a_log_without_such_a_result_says_why(text, reason, tmp_path):
    (tmp_path / "log.txt").write_text(text)
    assert read_run(tmp_path) == (None, reason)


def test_newest_log_counts_whatever_its_name(tmp_path):
    assert read_run(tmp_path) == read_run(tmp_path / "none") == (None, "there is no log file")
    write_log(tmp_path, 800)
    other = tmp_path / "log.txt-2024-01-01-00-00-00"
    other.write_text("=> result\n* accuracy: 60.0%\n")
    (tmp_path / "log.txt.bak").write_text("no log of a start")
    for last, accuracy in ((1.0, 60.0), (3e9, 80.0)):
        os.utime(tmp_path / "log.txt", (last, last))
        assert read_run(tmp_path)[0] == accuracy


def test_our_log_is_read_by_the_familys_parsers(mpl_flags, mpl_options, tmp_path):
    """Their rule: an accuracy counts in a line behind one that is the end signal (CoOp's, MaPLe's, --test-log)."""
    assert train.main([*mpl_flags, *mpl_options, "OPTIM.MAX_EPOCH", "1"]) == 0
    lines = [line.strip() for line in (tmp_path / "out" / "log.txt").read_text().splitlines()]
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    for end_signal in ("Finish training", "Finished training", "=> result"):
        behind = lines[lines.index(end_signal) :]
        (found,) = [re.search(r"\* accuracy: ([\.\deE+-]+)%", line) for line in behind if "* accuracy" in line]
        assert float(found[1]) == pytest.approx(result["accuracy_pct"], abs=0.05)
