"""One run, one folder: what a second run is refused, where a test goes, what a training began from."""

import shutil

import pytest

from modprompt.cli import train
from modprompt.trainers.mpl import MPL
from modprompt.use.trained import open_trained
from tests.stopping import stopped_before
from tests.test_runs import result, to
from tests.test_train import refusal


@pytest.fixture
def words(mpl_flags, mpl_options):
    """A short training; flags before, options behind."""

    def make(*flags, trainer="MPL", folder=None, options=()):
        words = [*flags, *(mpl_flags if folder is None else to(mpl_flags, folder))]
        words[words.index("--trainer") + 1] = trainer
        return [*map(str, words), *mpl_options, "OPTIM.MAX_EPOCH", "2", *options]

    return make


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "lock"}


def test_another_run_leaves_a_trainings_folder_as_it_is(trained, words, capsys):
    before = content(trained)
    for flags in ((), ("--eval-only", "--model-dir", trained)):
        line = refusal(capsys, *words(*flags, trainer="ZeroshotCLIP"))
        assert line.startswith(f"error: {trained} contains a training of MPL. Use a different --output-dir")
    assert content(trained) == before


def test_a_test_of_the_training_in_a_folder_goes_below_it(trained, words, capsys):
    before = content(trained)
    test = words("--eval-only", "--model-dir", trained, options=["DATASET.SUBSAMPLE_CLASSES", "new"])
    assert train.main(test) == 0
    place = trained / "tests" / "model.pth.tar-2_EuroSAT_new"
    assert f"the result of the test is written to {place}" in capsys.readouterr().out
    assert {path: raw for path, raw in content(trained).items() if place not in path.parents} == before
    assert result(place)["evaluated"] == f"{trained} epoch last"
    assert result(place)["checkpoint"] == result(trained)["checkpoint"]
    assert train.main(["--once", *test]) == 0
    assert "This run is already finished: " in capsys.readouterr().out


def test_no_message_advises_to_delete_a_folder_with_more_than_one_run(trained, words, capsys):
    assert train.main(words("--once")) == 0
    assert f"(to run again, delete {trained})" in capsys.readouterr().out
    other = words("--once", options=["OPTIM.LR", "0.5"])
    assert refusal(capsys, *other).endswith("Use another output folder, or delete that folder to run again.")
    assert train.main(words("--eval-only", "--model-dir", trained, folder=trained / "eval")) == 0
    assert refusal(capsys, *other).endswith("Use another output folder.")
    assert refusal(capsys, *words(options=["OPTIM.LR", "0.5"])).endswith("Use a different --output-dir.")
    assert train.main(words("--once")) == 0
    assert "delete" not in capsys.readouterr().out


def test_a_moved_training_and_its_test_stay_what_they_are(trained, words, tmp_path, capsys):
    assert train.main(words("--eval-only", "--model-dir", trained, folder=tmp_path / "test")) == 0
    shutil.move(trained, tmp_path / "moved")
    capsys.readouterr()
    again = words("--once", "--eval-only", "--model-dir", tmp_path / "moved", folder=tmp_path / "test")
    assert train.main(again) == 0
    assert "This run is already finished: " in capsys.readouterr().out


@pytest.fixture
def best(words, monkeypatch):
    """Words of a training of three epochs whose second is the best on the validation images."""
    plain, results = MPL.test, {0: 70.0, 1: 90.0, 2: 80.0}
    monkeypatch.setattr(MPL, "test", lambda self, split=None: results[self.epoch] if split else plain(self))

    def make(*flags, folder=None):
        options = ["TEST.FINAL_MODEL", "best_val", "OPTIM.MAX_EPOCH", "3", "TRAIN.CHECKPOINT_FREQ", "1"]
        return words(*flags, folder=folder, options=options)

    return make


@pytest.mark.slow
def test_the_last_epoch_does_not_pass_for_the_best(best, tmp_path, capsys):
    assert train.main(best()) == 0
    folder = tmp_path / "out" / "MultiModalPromptLearner"
    (folder / "model-best.pth.tar").unlink()
    line = refusal(capsys, *best())
    assert (
        f"Cannot resume: the best checkpoint so far, {folder / 'model-best.pth.tar'}, is missing. The checkpoint is needed, because TEST.FINAL_MODEL"
        in line
    )
    line = refusal(capsys, *best("--eval-only", "--model-dir", tmp_path / "out", folder=tmp_path / "test"))
    assert (
        f"The best checkpoint {folder / 'model-best.pth.tar'} is missing, but is needed because TEST.FINAL_MODEL"
        in line
    )
    with pytest.raises(ValueError, match="best checkpoint .*model-best.pth.tar is missing"):
        open_trained(tmp_path / "out")


@pytest.mark.parametrize("where", ["own", "another"])
def test_a_killed_training_does_not_go_on_without_its_best_epoch(best, tmp_path, capsys, where):
    with stopped_before(MPL, 2):
        assert train.main(best()) == 130
    path = tmp_path / "out" / "MultiModalPromptLearner" / "model-best.pth.tar"
    shutil.copy(path.with_name("model.pth.tar-1"), path)  # an epoch that was not the best
    more = () if where == "own" else ("--resume", tmp_path / "out")
    folder = tmp_path / "out" if where == "own" else tmp_path / "second"
    assert f"{path}, belongs to another epoch" in refusal(capsys, *best(*more, folder=folder))
    path.unlink()
    assert f"{path}, is missing" in refusal(capsys, *best(*more, folder=folder))


@pytest.mark.slow
def test_a_training_that_went_on_from_another_ones_end_is_another(words, trained, tmp_path, capsys):
    longer, second = ["OPTIM.MAX_EPOCH", "3"], tmp_path / "second"
    resumed = words("--once", "--resume", trained, folder=second, options=longer)
    assert train.main(resumed) == 0
    began = result(second)["began_from"]
    assert began == result(trained)["checkpoint"]["hash"]
    assert train.main(resumed) == 0
    assert "This run is already finished: " in capsys.readouterr().out
    line = refusal(capsys, *words("--once", folder=second, options=longer))
    assert (
        "contains a different finished run (the run started from the checkpoint of another training (--resume))" in line
    )
    line = refusal(capsys, *words(folder=second, options=longer))  # nor is it tested again as one in one go
    assert f"Cannot resume the run in {second}: the run started from the checkpoint of another training" in line
    whole = tmp_path / "whole"
    assert train.main(words(folder=whole, options=longer)) == 0
    assert result(whole)["began_from"] == ""
    line = refusal(capsys, *words("--once", "--resume", trained, folder=whole, options=longer))
    assert f"the run did not start from the checkpoint in {trained}" in line


def test_a_clip_as_it_is_is_no_test_of_a_model(trained, words, tmp_path, capsys):
    test = words("--once", "--eval-only", "--model-dir", trained, trainer="ZeroshotCLIP", folder=tmp_path / "plain")
    assert train.main(test) == 0
    assert result(tmp_path / "plain")["evaluated"] == ""
    assert "checkpoint" not in result(tmp_path / "plain")
    assert train.main(test) == 0
    assert "This run is already finished: " in capsys.readouterr().out
