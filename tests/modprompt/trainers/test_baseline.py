"""What `modprompt train` says of zero-shot CLIP before it trains."""

import json
import re
import shlex

import pytest

from modprompt.cli import train
from modprompt.experiments.reporting.logs import read_run
from modprompt.io.result import IN_EXPERIMENT
from modprompt.trainers import baseline

START = "Accuracy of zero-shot CLIP on the test images"


@pytest.fixture
def ran(command, tmp_path, capsys):
    """The lines on zero-shot CLIP, all other lines and the result of a run of one epoch."""

    def run(trainer, *options, out="out", flags=()):
        words = command(trainer, "OPTIM.MAX_EPOCH", 1, *options)
        words[words.index("--output-dir") + 1] = str(tmp_path / out)
        assert train.main([*flags, *words]) == 0
        lines = capsys.readouterr().out.splitlines()
        path = tmp_path / out / "result.json"
        result = json.loads(path.read_text()) if path.exists() else {}
        said = [line for line in lines if line.startswith((START, "Zero-shot CLIP"))]
        return said, [line for line in lines if line not in said], result

    return run


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_zero_shot_accuracy_comes_before_training_and_changes_nothing(ran, precision, tmp_path):
    options = ("TRAINER.COOP.PREC", precision, "DATALOADER.NUM_WORKERS", 1)
    said, lines, result = ran("CoOp", *options)
    _, others, alone = ran("CoOp", *options, out="once", flags=["--once"])
    _, _, zero_shot = ran("ZeroshotCLIP", out="zero_shot")
    assert said == [f"{START}: {zero_shot['accuracy_pct']:.1f}%"]
    assert [result[key] for key in ("prompts_hash", "correct")] == [alone[key] for key in ("prompts_hash", "correct")]

    def numbers(lines):
        """Lines without seconds and paths."""
        kept = [line for line in lines if re.match(r"epoch \[|=> |\* |Evaluate", line)]
        return [re.sub(r"(time|data|eta) \S+( \(\S+\))?", "", line) for line in kept]

    assert numbers(lines) == numbers(others)
    assert read_run(tmp_path / "out")[0] == pytest.approx(result["accuracy_pct"])
    log = (tmp_path / "out" / "log.txt").read_text()
    assert log.index(said[0]) < log.index("epoch [1/1]")


def test_other_programs_and_tests_print_no_zero_shot_accuracy(ran, tmp_path, monkeypatch):
    assert ran("CoOp", "TEST.NO_TEST", "True")[0] == []
    assert ran("CoOp", out="once", flags=["--once"])[0] == []
    assert ran("CoOp", out="test", flags=["--eval-only", "--model-dir", str(tmp_path / "once")])[0] == []
    assert ran("ZeroshotCLIP", out="zero_shot")[0] == []
    monkeypatch.setenv(IN_EXPERIMENT, "1")
    assert ran("CoOp", out="experiment")[0] == []


def test_many_test_images_name_the_command_instead(ran, tmp_path, monkeypatch):
    _, _, wanted = ran("ZeroshotCLIP", out="zero_shot")
    monkeypatch.setattr(baseline, "MOST_IMAGES", 19)
    ((said,), _, _) = ran("CoOp")
    assert said.startswith(
        "Zero-shot CLIP was not tested because the data set has 20 test images, more than the limit of 19. "
    )
    monkeypatch.chdir(tmp_path)
    words = shlex.split(said.partition("run: ")[2])
    assert words[:4] == ["modprompt", "train", "--trainer", "ZeroshotCLIP"]
    assert train.main(words[2:]) == 0
    (path,) = tmp_path.glob("output/**/result.json")
    assert json.loads(path.read_text())["correct"] == wanted["correct"]
