"""A run in fp16 that was stopped goes on as it would have: with real half tensors, on the CPU."""

import pytest
import torch

from modprompt.cli import train
from modprompt.engine import precision
from modprompt.trainers.prompt_trainer import PromptTrainer
from tests.methods import METHODS


@pytest.fixture
def half_on_the_cpu(monkeypatch):
    """PREC fp16 means on the CPU what it means on a card."""
    plain = precision.resolve
    as_on_a_card = precision.Precision(True, None, False, "")
    monkeypatch.setattr(
        precision, "resolve", lambda prec, device: as_on_a_card if prec == "fp16" else plain(prec, device)
    )


@pytest.fixture
def stopped(monkeypatch):
    """Makes runs stop behind their first epoch, as at a signal; its call lets them go on."""
    plain = PromptTrainer.after_epoch

    def after_epoch(self):
        plain(self)
        if self.epoch == 0:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(PromptTrainer, "after_epoch", after_epoch)
        yield patched.undo


def in_folder(words, folder):
    words = [*words]
    words[words.index("--output-dir") + 1] = str(folder)
    return words


TAUGHT = [pytest.param(row, marks=pytest.mark.slow) for row in ("kgcoop", "prograd")]


@pytest.mark.slow
@pytest.mark.parametrize("row", ["mpl", "maple", "coop_middle_csc", "cocoop", "vpt", "promptsrc", "coop_dept", *TAUGHT])
def test_stopped_run_goes_on_to_the_same_prompts(row, command, tmp_path, half_on_the_cpu, stopped, capsys):
    method = METHODS[row]
    words = command(method, f"TRAINER.{method.node}.PREC", "fp16", "TEST.NO_TEST", "True", "DATASET.NUM_SHOTS", "2")
    assert train.main(in_folder(words, tmp_path / "resumed")) == 130
    stopped()
    assert train.main(in_folder(words, tmp_path / "resumed")) == 0
    assert "resuming after epoch 1" in capsys.readouterr().out
    assert train.main(in_folder(words, tmp_path / "whole")) == 0
    one, other = (
        torch.load(tmp_path / name / method.folder / "model.pth.tar-2", weights_only=True)["state_dict"]
        for name in ("resumed", "whole")
    )
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) and one[name].dtype == other[name].dtype for name in one)
    if row != "vpt":  # whose prompts are all float32
        assert torch.float16 in {tensor.dtype for tensor in one.values()}
