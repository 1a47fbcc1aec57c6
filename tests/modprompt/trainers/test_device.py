import os

import pytest
import torch
from dassl.config import get_cfg_default

from modprompt.errors import UserError
from modprompt.methods.base import Method
from modprompt.trainers import device
from modprompt.trainers.device import WORKSPACE


@pytest.fixture
def cfg():
    made = get_cfg_default()
    made.MODEL.DETERMINISTIC = True
    return made


@pytest.fixture
def card(monkeypatch):
    """This process has a card, which nobody has used."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.delenv(WORKSPACE, raising=False)


def attention():
    cuda = torch.backends.cuda
    return {kind for kind in ("flash", "mem_efficient", "cudnn", "math") if getattr(cuda, f"{kind}_sdp_enabled")()}


def repeats():
    cudnn = torch.backends.cudnn
    return torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark


def test_each_run_of_a_process_has_its_own_settings_whatever_the_one_before_had(cfg, card, monkeypatch):
    for fixed in (False, True, True, False):
        cfg.MODEL.DETERMINISTIC = fixed
        device.set_up(cfg.MODEL.DETERMINISTIC, cfg.USE_CUDA, ours=True)
        assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == (False, False)
        assert attention() == ({"math"} if fixed else {"flash", "mem_efficient", "math"})
        assert repeats() == (fixed, fixed, not fixed)
        if fixed:
            assert os.environ[WORKSPACE] == ":4096:8"
            monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)


def test_in_another_program_only_a_deterministic_run_sets_what_repeats(cfg, card):
    torch.backends.cudnn.benchmark = True  # as a host's train.py sets it
    cfg.MODEL.DETERMINISTIC = False
    device.set_up(cfg.MODEL.DETERMINISTIC, cfg.USE_CUDA)
    assert repeats() == (False, False, True)
    cfg.MODEL.DETERMINISTIC = True
    device.set_up(cfg.MODEL.DETERMINISTIC, cfg.USE_CUDA)
    assert repeats() == (True, True, False)
    assert attention() == {"math"}


def test_on_a_cpu_attention_is_what_it_was(cfg, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    fused = attention() - {"cudnn"}
    device.set_up(cfg.MODEL.DETERMINISTIC, cfg.USE_CUDA)
    assert torch.are_deterministic_algorithms_enabled()
    assert attention() == fused
    assert WORKSPACE not in os.environ


@pytest.mark.parametrize("given", [None, ":0:0"])
def test_cuda_that_has_started_otherwise_is_refused(cfg, card, monkeypatch, given):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    if given:
        monkeypatch.setenv(WORKSPACE, given)
    with pytest.raises(UserError, match=f"CUDA has already started .* with {WORKSPACE} {given or 'unset'}. Set"):
        device.set_up(cfg.MODEL.DETERMINISTIC, cfg.USE_CUDA)


@pytest.mark.parametrize("given", [":4096:8", ":16:8"])
def test_a_workspace_that_repeats_is_left(cfg, card, monkeypatch, given):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setenv(WORKSPACE, given)
    device.set_up(cfg.MODEL.DETERMINISTIC, cfg.USE_CUDA)
    assert os.environ[WORKSPACE] == given


def test_another_workspace_gives_way_before_cuda_starts_and_it_is_said(cfg, card, monkeypatch, capsys):
    monkeypatch.setenv(WORKSPACE, ":0:0")
    device.set_up(cfg.MODEL.DETERMINISTIC, cfg.USE_CUDA)
    assert os.environ[WORKSPACE] == ":4096:8"
    assert (
        capsys.readouterr().out == f"MODEL.DETERMINISTIC True changes {WORKSPACE} from :0:0 to :4096:8 for this run.\n"
    )


class FoundTheFlags(Exception):
    pass


def test_a_host_that_builds_our_trainer_itself_is_set_up_too(monkeypatch, cfg):
    from modprompt.trainers.prompt_trainer import PromptTrainer, TrainerX

    def build(self, cfg):
        raise FoundTheFlags(torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic)

    monkeypatch.setattr(TrainerX, "__init__", build)
    monkeypatch.setattr(PromptTrainer, "make_method", lambda trainer, cfg: Method())
    cfg.OUTPUT_DIR = ""
    cfg.MODEL.BACKBONE.NAME = "ViT-B/16"
    with pytest.raises(FoundTheFlags) as found:
        PromptTrainer(cfg)
    assert found.value.args == (True, True)
