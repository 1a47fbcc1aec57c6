"""What a run leaves behind, and what a later one makes of it: settings, resuming, evaluation, broken weights."""

import json
import os
import shutil

import pytest
import torch
from PIL import Image

from modprompt.cli import train
from modprompt.io.tensors import read_tensors, write_tensors
from modprompt.trainers import training_state
from modprompt.trainers.mpl import MPL
from tests.conftest import bare, random_clip, replace_unnoticed
from tests.stopping import stopped_before
from tests.test_train import losses, refusal


def to(flags, folder):
    """The flags with another output folder."""
    flags = [*flags]
    flags[flags.index("--output-dir") + 1] = str(folder)
    return flags


def result(folder):
    return json.loads((folder / "result.json").read_text())


def saved(folder, file="model.pth.tar-2"):
    return torch.load(folder / "MultiModalPromptLearner" / file, weights_only=True)


def test_best_val_is_chosen_on_val_kept_and_deployed(mpl_flags, mpl_options, tmp_path, monkeypatch, capsys):
    results, splits, plain = iter([70.0, 90.0, 80.0]), [], MPL.test

    def scripted(self, split=None):
        splits.append(split)
        return next(results) if split == "val" else plain(self, split)

    monkeypatch.setattr(MPL, "test", scripted)
    options = ["TEST.FINAL_MODEL", "best_val", "OPTIM.MAX_EPOCH", "3"]
    assert train.main([*mpl_flags, *mpl_options, *options]) == 0
    assert splits == ["val", "val", "val", None]
    best = saved(tmp_path / "out", "model-best.pth.tar")
    assert (best["epoch"], best["val_result"]) == (2, 90.0)
    assert 'model-best.pth.tar" (epoch = 2)' in capsys.readouterr().out


def test_staged_rates_are_told_and_do_not_lose_the_prompts(mpl_flags, mpl_options, tmp_path, capsys):
    assert train.main([*mpl_flags, *mpl_options, "OPTIM.STAGED_LR", "True", "OPTIM.WARMUP_EPOCH", "0"]) == 0
    assert "OPTIM.STAGED_LR True is ignored because OPTIM.LR is the only learning rate." in capsys.readouterr().out
    state = saved(tmp_path / "out")["state_dict"]
    copies = [state[f"prompt_learner.txt2img_proj.0.{layer}.weight"] for layer in (0, 1)]
    assert not torch.equal(*copies)  # they start as copies of one projection


def test_initial_prompts_are_loaded(trained, mpl_flags, mpl_options, tmp_path):
    path = tmp_path / "out" / "MultiModalPromptLearner" / "model.pth.tar-2"
    # at a rate of nothing, what is saved is what was loaded
    options = ["MODEL.INIT_WEIGHTS", str(path), "OPTIM.LR", "0", "OPTIM.WARMUP_CONS_LR", "0"]
    assert train.main([*to(mpl_flags, tmp_path / "second"), *mpl_options, *options]) == 0
    one, two = (saved(tmp_path / folder)["state_dict"] for folder in ("out", "second"))
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_evaluation_computes_class_features_once(mpl_flags, mpl_options, monkeypatch):
    from modprompt.engine.encoders import TextEncoder

    calls, plain = [], TextEncoder.forward
    monkeypatch.setattr(TextEncoder, "forward", lambda self, *a: calls.append(1) or plain(self, *a))
    options = ["DATALOADER.TEST.BATCH_SIZE", "3", "OPTIM.MAX_EPOCH", "1", "DATALOADER.TRAIN_X.BATCH_SIZE", "20"]
    assert train.main([*mpl_flags, *mpl_options, *options]) == 0
    assert len(calls) == 1 + 3  # one training step; zero-shot CLIP, the test and the validation images, in batches


def test_finished_run_is_tested_again_and_not_continued_with_other_settings(trained, mpl_flags, mpl_options, capsys):
    assert train.main([*mpl_flags, *mpl_options, "DATALOADER.TEST.BATCH_SIZE", "5"]) == 0
    out = capsys.readouterr().out
    assert "is already finished (2 epochs). Only the test is repeated." in out
    assert not losses(out)
    for key, value in (("OPTIM.MAX_EPOCH", "4"), ("OPTIM.LR", "0.5"), ("TRAINER.MPL.N_RM_OP", "0")):
        assert f"contains a run with other settings ({key} " in refusal(capsys, *mpl_flags, *mpl_options, key, value)
    every_class = [*mpl_options, "DATASET.SUBSAMPLE_CLASSES", "all"]
    assert "DATASET.SUBSAMPLE_CLASSES base -> all" in refusal(capsys, *mpl_flags, *every_class)


def test_run_killed_before_its_first_state_begins_anew(mpl_flags, mpl_options, tmp_path, capsys):
    def killed(*args):
        raise KeyboardInterrupt

    options = [*mpl_options, "TRAIN.CHECKPOINT_FREQ", "1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_state, "save", killed)
        assert train.main([*mpl_flags, *options]) == 130
    assert saved(tmp_path / "out", "model.pth.tar-1")["epoch"] == 1
    capsys.readouterr()
    assert train.main([*mpl_flags, *options]) == 0
    out = capsys.readouterr().out
    assert sorted({epoch for epoch, _ in losses(out)}) == [1, 2]
    said, first_step = (
        out.index(f"{tmp_path / 'out'} contains checkpoints of an unfinished training"),
        out.index("epoch [1/2]"),
    )
    assert said < first_step
    assert train.main([*mpl_flags, *options]) == 0
    assert "unfinished training" not in capsys.readouterr().out


@pytest.mark.slow
def test_resume_from_another_folder_and_then_from_ones_own(mpl_flags, mpl_options, tmp_path, capsys):
    options = [*mpl_options, "OPTIM.MAX_EPOCH", "4"]
    second = [*to(mpl_flags, tmp_path / "second"), "--resume", str(tmp_path / "out")]
    for flags, epoch in ((mpl_flags, 1), (second, 3)):
        with stopped_before(MPL, epoch):
            assert train.main([*flags, *options]) == 130
    out = capsys.readouterr().out
    assert f"Resuming after epoch 1 from the unfinished run in {tmp_path / 'out'}" in out
    assert train.main([*second, *options]) == 0
    assert f"Resuming after epoch 3 from the unfinished run in {tmp_path / 'second'}" in capsys.readouterr().out


def training_pictures(root):
    """The training images of the EuroSAT tree's split."""
    split = json.loads((root / "eurosat" / "split_zhou_EuroSAT.json").read_text())
    return [root / "eurosat" / "2750" / name for name, *_ in split["train"]]


def test_training_on_all_images_resumes_only_with_equal_contents(mpl_flags, mpl_options, tmp_path, capsys):
    options = [*mpl_options, "DATASET.NUM_SHOTS", "-1"]
    with stopped_before(MPL, 1):
        assert train.main([*mpl_flags, *options]) == 130
    shutil.copytree(tmp_path / "out", tmp_path / "out2")
    shutil.copytree(tmp_path / "data", tmp_path / "copy", copy_function=shutil.copyfile)
    copied = [*to(mpl_flags, tmp_path / "out2"), "--root", str(tmp_path / "copy")]
    older = tmp_path / "older" / training_state.FILE_NAME
    shutil.copytree(tmp_path / "out", older.parent)
    state = read_tensors(older)
    del state["extras"]["training_image_files"]
    write_tensors(older, state)
    assert train.main([*to(mpl_flags, older.parent), *options]) == 0
    assert "does not record the contents of the training images" in capsys.readouterr().out
    pictures = training_pictures(tmp_path / "data")
    before = pictures[0].read_bytes()
    replace_unnoticed(pictures[0])
    line = refusal(capsys, *mpl_flags, *options)
    assert (
        f"Cannot resume the run in {tmp_path / 'out'} because the contents of its training images have changed." in line
    )
    pictures[0].write_bytes(before)
    assert train.main([*mpl_flags, *options]) == 0
    assert "Resuming after epoch 1" in capsys.readouterr().out
    assert train.main([*copied, *options]) == 0
    assert "Resuming after epoch 1" in capsys.readouterr().out
    assert "images_changed" not in result(tmp_path / "out2")
    found = [saved(tmp_path / name)["state_dict"] for name in ("out", "out2")]
    assert all(torch.equal(tensor, found[1][name]) for name, tensor in found[0].items())


CHANGES = {
    "repainted": lambda path: Image.new("RGB", (32, 32), (255, 0, 255)).save(path),
    "replaced": replace_unnoticed,
    "touched": lambda path: os.utime(path, ns=(1, 1)),
    "permitted": lambda path: path.chmod(0o600),
}


@pytest.mark.parametrize(
    ("shots", "change", "more"),
    [
        ("-1", "repainted", ()),
        ("4", "replaced", ()),
        ("-1", "touched", ()),
        ("-1", "permitted", ()),
        ("-1", "repainted", ("ACTIVE.ROUNDS", "2", "ACTIVE.METHOD", "random")),
    ],
)
def test_training_images_that_change_during_a_run_mark_it(
    mpl_flags, mpl_options, tmp_path, capsys, shots, change, more
):
    options, marked = [*mpl_options, "DATASET.NUM_SHOTS", shots, *more], change != "permitted"

    def change_images(self):
        for path in training_pictures(tmp_path / "data") if self.epoch == 1 else ():
            CHANGES[change](path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MPL, "before_epoch", change_images)
        assert train.main([*mpl_flags, *options]) == 0
    assert ("Warning: training images changed during the run" in capsys.readouterr().out) == marked
    if change == "touched":  # the checkpoint has the mark, too
        (tmp_path / "out" / "result.json").unlink()
        assert train.main([*mpl_flags, *options]) == 0
    mark = result(tmp_path / "out").get("images_changed")
    assert mark == ("training images changed during the run" if marked else None)
    if marked:
        assert "cannot be reproduced: training images changed during the run" in refusal(
            capsys, "--once", *mpl_flags, *options
        )
    else:
        assert train.main(["--once", *mpl_flags, *options]) == 0


def test_another_clip_of_the_same_shape_is_noticed(trained, mpl_flags, mpl_options, tmp_path, capsys):
    torch.save(random_clip(2, text_layers=4, vision_layers=4).state_dict(), tmp_path / "other.pt")
    options = [*mpl_options, *bare(tmp_path / "other.pt")]
    assert "other settings (the weights of CLIP" in refusal(capsys, *mpl_flags, *options)
    line = refusal(capsys, *mpl_flags, "--eval-only", "--model-dir", tmp_path / "out", *options)
    assert "was created with different settings: the weights of CLIP" in line


def test_checkpoint_of_another_schedule_is_not_evaluated(trained, mpl_flags, mpl_options, tmp_path, capsys):
    flags = [*mpl_flags, "--eval-only", "--model-dir", tmp_path / "out"]
    line = refusal(capsys, *flags, *mpl_options, "TRAINER.MPL.N_RM_OP", "0")
    assert "TRAINER.MPL.N_RM_OP (here 0, but 1 in the checkpoint)" in line


def test_step_that_spoils_the_prompts_saves_nothing(mpl_flags, mpl_options, tmp_path, capsys):
    options = ["OPTIM.LR", "1e38", "OPTIM.WEIGHT_DECAY", "1e30", "OPTIM.WARMUP_EPOCH", "0", "OPTIM.MAX_EPOCH", "1"]
    line = refusal(capsys, *mpl_flags, *mpl_options, *options, "DATALOADER.TRAIN_X.BATCH_SIZE", "20")
    assert "The trained parameters are not finite after epoch 1" in line
    assert not (tmp_path / "out" / "MultiModalPromptLearner").exists()
    assert not (tmp_path / "out" / "training_state.pth.tar").exists()


def test_checkpoint_that_is_not_finite_is_not_evaluated(trained, mpl_flags, mpl_options, tmp_path, capsys):
    content = saved(tmp_path / "out")
    content["state_dict"] = {name: value * float("nan") for name, value in content["state_dict"].items()}
    torch.save(content, tmp_path / "out" / "MultiModalPromptLearner" / "model.pth.tar-2")
    line = refusal(capsys, *mpl_flags, "--eval-only", "--model-dir", tmp_path / "out", *mpl_options)
    assert "is damaged (ctx contains values that are not finite" in line


@pytest.mark.slow
def test_damaged_pointer_is_named(trained, mpl_flags, mpl_options, capsys):
    for content in (b"", b"nothing.pth\n", b"\xff\xfe"):
        (trained / "MultiModalPromptLearner" / "checkpoint").write_bytes(content)
        line = refusal(capsys, *mpl_flags, *mpl_options)
        assert "checkpoint does not contain the name of a checkpoint in its folder" in line, content


def test_zero_shot_uses_the_data_sets_template(mpl_flags, mpl_options, capsys):
    flags = [*mpl_flags]
    flags[flags.index("MPL")] = "ZeroshotCLIP"
    assert train.main([*flags, "--eval-only", *mpl_options]) == 0
    assert "Prompt templates (1): a centered satellite photo of {}." in capsys.readouterr().out
