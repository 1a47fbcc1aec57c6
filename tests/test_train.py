"""train.py from the outside: whole runs, killed runs, bad input."""

import json
import re

import pytest
import torch

from modprompt.cli import train
from tests.conftest import DASSL_IS_OURS

LOSS = re.compile(r"epoch \[(\d+)/\d+\] batch \[(\d+)/\d+\].* loss ([\d.]+) \(")


def losses(text):
    """{(epoch, batch): loss} of a log."""
    return {(int(e), int(b)): float(loss) for e, b, loss in LOSS.findall(text)}


def refusal(capsys, *argv):
    """The one line on standard error with which train.py ends, exit code 2."""
    capsys.readouterr()
    assert train.main([str(word) for word in argv]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("warning")]
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    return lines[0]


def test_base_to_new_run_trains_saves_the_learner_alone_and_tests(mpl_flags, mpl_options, tmp_path, capsys):
    assert train.main([*mpl_flags, *mpl_options]) == 0
    out = tmp_path / "out"
    log = (out / "log.txt").read_text()
    assert sorted(losses(log)) == [(e, b) for e in (1, 2) for b in (1, 2, 3, 4, 5)]  # 5 classes x 4 shots / 4
    assert "Finish training" in log
    assert "prompt tokens    1   2   3   3" in log
    folder = out / "MultiModalPromptLearner"
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint", "model.pth.tar-2"]
    checkpoint = torch.load(folder / "model.pth.tar-2", weights_only=True)
    assert all(name.startswith("prompt_learner.") for name in checkpoint["state_dict"])
    assert checkpoint["epoch"] == 2
    assert not (out / "training_state.pth.tar").exists()
    result = json.loads((out / "result.json").read_text())
    assert result["trainer"] == "MPL"
    assert result["classes"] == "base"
    assert f"* accuracy: {result['accuracy_pct']:.1f}%" in log

    new = [*mpl_flags, "--model-dir", out, "--load-epoch", "2", "--eval-only", *mpl_options]
    new[new.index("--output-dir") + 1] = tmp_path / "new"
    new[-1] = "new"
    assert train.main([str(word) for word in new]) == 0
    assert json.loads((tmp_path / "new" / "result.json").read_text())["images"] == 20
    assert "epoch [" not in (tmp_path / "new" / "log.txt").read_text()


def test_same_seed_same_losses_other_seed_other_losses(mpl_flags, mpl_options, tmp_path):
    found = []
    for number, seed in enumerate(("1", "1", "0")):
        flags = [*mpl_flags]
        flags[flags.index("--seed") + 1], flags[flags.index("--output-dir") + 1] = seed, str(tmp_path / f"o{number}")
        assert train.main([*flags, *mpl_options]) == 0
        found.append(losses((tmp_path / f"o{number}" / "log.txt").read_text()))
    # the first run also made the split, so its few-shot lists came later in the stream; the cache kept them
    assert found[0] == found[1] != found[2]


@pytest.mark.slow
def test_amp_trains_on_a_cpu_and_says_what_it_is(mpl_flags, mpl_options, capsys):
    assert train.main([*mpl_flags, *mpl_options, "TRAINER.MPL.PREC", "amp", "USE_CUDA", "False"]) == 0
    assert "PREC amp" in capsys.readouterr().out


BAD = [
    (["--trainer", "MLP"], [], "unknown name 'MLP'. Did you mean 'MPL'"),
    ([], ["DATASET.NAME", "eurosat"], "unknown name 'eurosat'. Did you mean 'EuroSAT'"),
    (["--root", "/nonexistent/root"], [], "DATASET.ROOT /nonexistent/root: the folder does not exist"),
    (["--config-file", "nothing.yaml"], [], "Unknown config file nothing.yaml"),
    (["--eval-only", "--model-dir", "/nonexistent/run"], [], "No checkpoint found because the folder /nonexistent/run/MultiModalPromptLearner does not exist"),
    (["--eval-only"], [], "--eval-only with the trainer MPL needs a trained model"),
    (["--resume", "/nonexistent/run"], [], "The folder /nonexistent/run, to which RESUME is set, contains no run to resume"),
    (["--output-dir", "/dev/null/x"], [], "Not a directory"),
    ([], ["--seed", "2"], "The flag --seed must come before the KEY VALUE options"),
    ([], ["TRAINER.MPL.DEPTH", "3"], "unknown setting 'TRAINER.MPL.DEPTH'. Did you mean 'TRAINER.MPL."),
    ([], ["DATASET.SUBSAMPLE_CLASSES", "old"], "must be all, base or new, got 'old'"),
    ([], ["TRAIN.PRINT_FREQ", "0", "OPTIM.MAX_EPOCH", "-3"], "MAX_EPOCH must be at least 1 and at most 1000000, got -3. TRAIN.PRINT_FREQ"),
]  # fmt: skip


@pytest.mark.parametrize(("flags", "options", "message"), BAD, ids=[case[2][:40] for case in BAD])
def test_bad_input_is_one_line(mpl_flags, mpl_options, capsys, flags, options, message):
    assert message in refusal(capsys, *mpl_flags, *flags, *mpl_options, *options)


@pytest.mark.parametrize(
    ("option", "why"),
    [
        (("TRAINER.MPL.PROMPT_DEPTH", "5"), "TRAINER.MPL.PROMPT_DEPTH must be from 1 to 4"),
        (("INPUT.SIZE", "(224, 224)"), "INPUT.SIZE is 224 x 224, but this model needs images of 32 x 32"),
    ],
)
def test_what_does_not_fit_a_file_of_weights_is_said_first(mpl_flags, mpl_options, capsys, option, why):
    assert train.main([*mpl_flags, *mpl_options, *option]) == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"error: {why}")
    assert "EuroSAT" not in said.out.partition("All settings and system information")[2]


@pytest.mark.parametrize("workers", ["0", "2"])
def test_damaged_image_is_named(mpl_flags, mpl_options, eurosat_root, capsys, workers):
    for path in (eurosat_root / "eurosat" / "2750" / "Forest").iterdir():
        path.write_bytes(path.read_bytes()[:150])
    line = refusal(capsys, *mpl_flags, *mpl_options, "DATALOADER.NUM_WORKERS", workers)
    if DASSL_IS_OURS:  # the real one says what Pillow says
        assert line.startswith("error: Cannot read the image ")
        assert "Forest/Forest_" in line


def test_missing_image_is_named(mpl_flags, mpl_options, eurosat_root, capsys):
    assert train.main([*mpl_flags, "--no-train", *mpl_options]) == 0
    capsys.readouterr()
    (eurosat_root / "eurosat" / "2750" / "Forest" / "Forest_1.jpg").unlink()
    line = refusal(capsys, *mpl_flags, *mpl_options)
    assert "lists Forest/Forest_1.jpg, but " in line
    assert "Forest/Forest_1.jpg does not exist. Add the missing images" in line


def test_loss_that_is_not_finite_names_the_step_and_keeps_the_last_state(mpl_flags, mpl_options, tmp_path, capsys):
    from modprompt.trainers.prompt_trainer import PromptTrainer

    plain = PromptTrainer.output

    def poisoned(self, image):
        found = plain(self, image)
        return found._replace(logits=found.logits * (float("nan") if self.place == (1, 2) else 1))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PromptTrainer, "output", poisoned)
        line = refusal(capsys, *mpl_flags, *mpl_options)
    assert "The loss is nan at epoch 2, step 3" in line
    assert line in (tmp_path / "out" / "log.txt").read_text()
    state = torch.load(tmp_path / "out" / "training_state.pth.tar", weights_only=True)
    assert state["epoch"] == 1
    assert all(torch.isfinite(value).all() for value in state["models"]["MultiModalPromptLearner"].values())
    assert not (tmp_path / "out" / "MultiModalPromptLearner").exists()


@pytest.mark.filterwarnings("default::UserWarning")
def test_pixel_statistics_that_are_not_clips_are_warned_of(mpl_flags, mpl_options, capsys):
    assert train.main([*mpl_flags, "--no-train", *mpl_options, "INPUT.PIXEL_MEAN", "[0.5, 0.5, 0.5]"]) == 0
    assert "INPUT.PIXEL_MEAN is [0.5, 0.5, 0.5] instead of [0.4815, 0.4578, 0.4082]" in capsys.readouterr().err


def test_nothing_is_written_when_the_settings_are_wrong(mpl_flags, mpl_options, tmp_path, capsys):
    refusal(capsys, *mpl_flags, *mpl_options, "OPTIM.LRR", "1")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_trainer_alone_runs_the_embedded_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert train.main(["--trainer", "MPL", "OPTIM.MAX_EPOCH", "1"]) == 0
    result = json.loads((tmp_path / "output/digits/shots_16/MPL/glyph/seed1/result.json").read_text())
    assert (result["dataset"], result["backbone"], result["seed"], result["images"]) == ("Digits", "glyph-clip", 1, 531)
    assert result["accuracy_pct"] > 50


def test_zero_shot_of_the_embedded_model_keeps_its_word(tmp_path, monkeypatch, capsys):
    """70 % on handwritten digits it has never seen; chance is 10 %."""
    monkeypatch.chdir(tmp_path)
    assert train.main(["--trainer", "ZeroshotCLIP"]) == 0
    result = json.loads((tmp_path / "output/digits/shots_16/ZeroshotCLIP/glyph/seed1/result.json").read_text())
    assert result["accuracy_pct"] >= 70
