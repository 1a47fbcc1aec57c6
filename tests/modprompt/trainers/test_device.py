import contextlib
import os
import re

import pytest
import torch
from dassl.config import get_cfg_default

from modprompt.cli import train
from modprompt.engine.precision import set_products
from modprompt.errors import UserError
from modprompt.trainers import device
from modprompt.trainers.device import WORKSPACE
from tests import process_state
from tests.methods import METHODS, SEARCHES


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
    monkeypatch.setattr(device, "_fixed_here", False)
    monkeypatch.delenv(WORKSPACE, raising=False)


def attention():
    return {kind for kind, on in device._attention().items() if on}


def test_without_it_products_and_cudnns_search_alone_are_set(cfg, card):
    cfg.MODEL.DETERMINISTIC = False
    with device.kept():
        device.set_up(cfg)
        on = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        assert on == (False, False)
        assert attention() == {"flash", "mem_efficient", "math"}
    set_products()
    before = process_state.settings()
    device.set_up(cfg)
    assert process_state.changes(before, process_state.settings()) == []
    with device.kept():
        device.set_up(cfg, may_tune=True)
        assert torch.backends.cudnn.benchmark
    assert process_state.changes(before, process_state.settings()) == []


def test_a_card_repeats_its_numbers_and_the_process_gets_back_what_it_had(cfg, card):
    before = process_state.settings()
    with contextlib.suppress(KeyboardInterrupt), device.kept():
        torch.backends.cudnn.benchmark = True  # as a host's train.py sets it
        device.set_up(cfg, may_tune=True)
        assert torch.are_deterministic_algorithms_enabled()
        assert (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic) == (False, True)
        assert attention() == {"math"}
        assert os.environ[WORKSPACE] == ":4096:8"
        raise KeyboardInterrupt
    assert process_state.changes(before, process_state.settings()) == []


def test_on_a_cpu_attention_is_what_it_was(cfg, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    fused = attention() - {"cudnn"}
    with device.kept():
        device.set_up(cfg)
        assert torch.are_deterministic_algorithms_enabled()
        assert attention() == fused
        assert WORKSPACE not in os.environ


@pytest.mark.parametrize("warns", [True, False])
def test_a_process_that_was_deterministic_stays_so(cfg, card, warns):
    with device.kept():
        torch.use_deterministic_algorithms(True, warn_only=warns)
        with device.kept():
            device.set_up(cfg)
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled() is warns


@pytest.mark.parametrize("given", [None, ":0:0"])
def test_cuda_that_has_started_otherwise_is_refused(cfg, card, monkeypatch, given):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    if given:
        monkeypatch.setenv(WORKSPACE, given)
    with device.kept(), pytest.raises(UserError, match=f"CUDA has started .* with {WORKSPACE} {given or 'unset'}: set"):
        device.set_up(cfg)


@pytest.mark.parametrize("given", [":4096:8", ":16:8"])
def test_a_workspace_that_repeats_is_left(cfg, card, monkeypatch, given):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setenv(WORKSPACE, given)
    with device.kept():
        device.set_up(cfg)
        assert os.environ[WORKSPACE] == given


def test_another_workspace_gives_way_before_cuda_starts_and_it_is_said(cfg, card, monkeypatch, capsys):
    monkeypatch.setenv(WORKSPACE, ":0:0")
    with device.kept():
        device.set_up(cfg)
        assert os.environ[WORKSPACE] == ":4096:8"
    assert os.environ[WORKSPACE] == ":0:0"
    assert capsys.readouterr().out == f"MODEL.DETERMINISTIC True: {WORKSPACE} :0:0 -> :4096:8 for this run\n"


def test_a_second_run_of_a_process_goes_on_with_the_cuda_that_the_first_has_started(cfg, card, monkeypatch):
    for _ in range(2):
        with device.kept():
            device.set_up(cfg)
            monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
        assert WORKSPACE not in os.environ


def test_a_run_that_failed_before_cuda_started_does_not_stand_for_the_one_that_started_it(cfg, card, monkeypatch):
    with contextlib.suppress(KeyboardInterrupt), device.kept():
        device.set_up(cfg)
        raise KeyboardInterrupt
    with device.kept():  # a plain run
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with device.kept(), pytest.raises(UserError, match=f"CUDA has started .* with {WORKSPACE} unset: set"):
        device.set_up(cfg)


class FoundTheFlags(Exception):
    pass


# ------------------------------------------------------------------ whole runs on a CPU


def losses(out):
    """What follows from the first loss on in each line of a log."""
    return [
        re.split(r" \w*loss", line.split(" lr ")[0], maxsplit=1)[1]
        for line in out.splitlines()
        if line.startswith("epoch [")
    ]


@pytest.mark.slow
def test_a_deterministic_run_has_the_losses_of_another_also_when_it_goes_on(command, tmp_path, capsys, monkeypatch):
    from modprompt.trainers.prompt_trainer import PromptTrainer

    seen, plain = [], PromptTrainer.before_epoch

    def stop(self):
        seen.append(torch.are_deterministic_algorithms_enabled())
        if self.epoch == 1 and len(seen) == 2:
            raise KeyboardInterrupt
        plain(self)

    def words(folder, *more):
        found = command(METHODS["mpl"], "TRAIN.PRINT_FREQ", 1, *more)
        found[found.index("--output-dir") + 1] = str(tmp_path / folder)
        return found

    assert train.main(words("plain")) == 0
    expected = losses(capsys.readouterr().out)
    monkeypatch.setattr(PromptTrainer, "before_epoch", stop)
    before = process_state.settings()
    assert train.main(words("fixed", "MODEL.DETERMINISTIC", "True")) == 130
    out = capsys.readouterr().out
    assert train.main(words("fixed", "MODEL.DETERMINISTIC", "True")) == 0
    out += capsys.readouterr().out
    assert process_state.changes(before, process_state.settings()) == []
    assert seen == [True, True, True]
    assert losses(out) == expected


@pytest.mark.slow
@pytest.mark.parametrize("row", [*(row for row in METHODS if row != "mpl"), "dpl_search", "mpl_search"])
def test_every_method_has_what_repeats_its_numbers(command, tmp_path, capsys, row):
    found = []
    for fixed in ("False", "True"):
        method = {**METHODS, **SEARCHES}[row]
        words = command(method, "OPTIM.MAX_EPOCH", 1, "TRAIN.PRINT_FREQ", 1, "MODEL.DETERMINISTIC", fixed)
        words[words.index("--output-dir") + 1] = str(tmp_path / fixed)
        assert train.main(words) == 0
        found.append(losses(capsys.readouterr().out))
    assert found[0] == found[1] != []


@pytest.mark.cover(1)
@pytest.mark.parametrize(("then", "now"), [("True", "False"), ("False", "True")])
def test_a_run_goes_on_as_deterministic_as_it_began(command, capsys, monkeypatch, then, now):
    from modprompt.trainers.prompt_trainer import PromptTrainer

    def stop(self):
        if self.epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(PromptTrainer, "before_epoch", stop)
        assert train.main(command(METHODS["mpl"], "MODEL.DETERMINISTIC", then)) == 130
    capsys.readouterr()
    assert train.main(command(METHODS["mpl"], "MODEL.DETERMINISTIC", now)) == 2
    assert f"other settings (MODEL.DETERMINISTIC {then} -> {now})" in capsys.readouterr().err


def test_a_host_that_builds_our_trainer_itself_is_set_up_too(monkeypatch, cfg):
    from modprompt.trainers.prompt_trainer import PromptTrainer, TrainerX

    def build(self, cfg):
        raise FoundTheFlags(torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic)

    monkeypatch.setattr(TrainerX, "__init__", build)
    cfg.OUTPUT_DIR = ""
    cfg.MODEL.BACKBONE.NAME = "ViT-B/16"
    with device.kept(), pytest.raises(FoundTheFlags) as found:
        PromptTrainer(cfg)
    assert found.value.args == (True, True)
