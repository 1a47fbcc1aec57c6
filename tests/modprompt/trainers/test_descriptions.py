"""Runs whose classes have phrases: what counts is the file's content, wherever a run goes on, is found or is tested."""

import json
import shutil
from pathlib import Path

import pytest

from modprompt.cli import train
from modprompt.trainers.prompt_trainer import PromptTrainer
from tests.methods import METHODS
from tests.stopping import stopped_before
from tests.test_runs import to
from tests.test_train import refusal

OURS = json.loads(Path(METHODS["alvlm"].options["AEPATH"]).read_text())
COOP = METHODS["coop_end"]


@pytest.fixture
def words(command, tmp_path):
    """A short run with phrases from a file that may be written over; further options behind."""

    def make(*more, phrases=OURS, key="ASPATH"):
        path = tmp_path / "phrases.json"
        path.write_text(json.dumps(phrases, indent=2))
        return command(COOP, f"TRAINER.COOP.{key}", path, "OPTIM.MAX_EPOCH", 1, *more)

    return make


OTHER = {**OURS, "Forest": ["many trees"]}


@pytest.mark.slow
def test_run_says_what_it_read_and_is_tested_with_nothing_else(words, command, tmp_path, capsys):
    assert train.main(words()) == 0
    assert (
        f"Class descriptions: 9 phrases for 5 classes from {tmp_path / 'phrases.json'} (AS: the mean of their logits)"
        in capsys.readouterr().out
    )
    result = json.loads((tmp_path / "out/result.json").read_text())
    assert result["method"]["the descriptions"].startswith("AS ")
    assert result["class_names"]["templates"] == ["X X X X {}, which is/has [phrase]."]

    test = ["--eval-only", "--model-dir", str(tmp_path / "out")]
    assert train.main([*test, *to(words(phrases=dict(reversed(list(OURS.items())))), tmp_path / "same")]) == 0
    same = json.loads((tmp_path / "same/result.json").read_text())
    assert same["accuracy_pct"] == result["accuracy_pct"]
    digest = result["method"]["the descriptions"]
    line = refusal(capsys, *test, *to(words(phrases=OTHER), tmp_path / "x"))
    assert "was created with different settings: the descriptions (here AS " in line
    assert f", but {digest} in the checkpoint)" in line
    line = refusal(capsys, *test, *to(words(key="AEPATH"), tmp_path / "x"))
    assert f"the descriptions (here AE {digest[3:]}, but {digest} in the checkpoint)" in line
    line = refusal(capsys, *test, *to(command(COOP), tmp_path / "x"))
    assert f"the descriptions (here none, but {digest} in the checkpoint)" in line


@pytest.mark.slow
def test_once_compares_the_content(words, tmp_path, capsys):
    assert train.main(words()) == 0
    capsys.readouterr()
    assert train.main(["--once", *words()]) == 0
    assert "This run is already finished: " in capsys.readouterr().out
    line = refusal(capsys, "--once", *words(phrases=OTHER))
    assert f"contains a different finished run (the content of {tmp_path / 'phrases.json'} has changed)" in line
    shutil.copy(tmp_path / "phrases.json", tmp_path / "other.json")
    asked, moved = words(), [str(word).replace("phrases.json", "other.json") for word in words()]
    other = f"{tmp_path / 'other.json'} is another file and has other content"
    assert f"(the run was made with {tmp_path / 'phrases.json'}, but {other})" in refusal(capsys, "--once", *moved)
    shutil.copy(tmp_path / "phrases.json", tmp_path / "other.json")
    assert train.main(["--once", *moved]) == 0
    (tmp_path / "phrases.json").unlink()
    assert "No class descriptions found at " in refusal(capsys, "--once", *asked)


@pytest.mark.slow
def test_run_that_was_stopped_goes_on_with_the_same_phrases_alone(words, tmp_path, capsys):
    with stopped_before(PromptTrainer, 1):
        assert train.main(words("OPTIM.MAX_EPOCH", 2)) == 130
    line = refusal(capsys, *words("OPTIM.MAX_EPOCH", 2, phrases=OTHER))
    assert "contains a run with other settings (the descriptions AS " in line
    assert train.main(words("OPTIM.MAX_EPOCH", 2)) == 0
    assert "Resuming after epoch 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["TRAINER.COOP.AEPATH", "x"], "TRAINER.COOP.ASPATH and AEPATH are both set"),
        (["TRAINER.COOP.ASPATH", "x.json"], "TRAINER.COOP.ASPATH: No class descriptions found at x.json"),
        (["SEARCH.ON", "True"], "SEARCH.ON does not work with ASPATH"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_work(more, message, words, capsys, monkeypatch):
    monkeypatch.setattr(PromptTrainer, "build_data_loader", None)
    assert message in refusal(capsys, *words(*more))


def test_file_without_a_class_of_the_data_set_is_refused(words, capsys):
    line = refusal(capsys, *words(phrases={"forest": ["trees"], "annual crop": ["fields"]}))
    assert "phrases.json contains no phrases for 4 of 5 classes: 'Annual Crop Land'" in line
    assert "Did you mean 'annual crop'?" in line
