"""What the pages in docs/ show runs."""

import importlib
import re
import sys

import pytest
import torch
from dassl.config import cfg_default
from dassl.engine import TRAINER_REGISTRY

from modprompt.cli import train
from modprompt.trainers import nodes as config
from tests.conftest import ROOT
from tests.test_train import losses

EXAMPLE = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "own_trainer.md").read_text(), flags=re.DOTALL)[0]


@pytest.fixture(scope="module", autouse=True)
def growing(tmp_path_factory):
    folder = tmp_path_factory.mktemp("example")
    (folder / "growing_example.py").write_text(EXAMPLE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        importlib.import_module("growing_example")
    yield
    registered = next(table for table in vars(TRAINER_REGISTRY).values() if isinstance(table, dict))
    for table, name in ((registered, "Growing"), (config._NODES, "GROWING"), (cfg_default.TRAINER, "GROWING")):
        del table[name]
    del sys.modules["growing_example"]


def test_example_is_a_whole_method_in_under_80_lines(command, tmp_path, capsys):
    assert len(EXAMPLE.splitlines()) < 80
    assert train.main(command("Growing", "TRAINER.GROWING.PROMPT_DEPTH", 3, "OPTIM.MAX_EPOCH", 3)) == 0
    found = losses(capsys.readouterr().out)
    assert len(found) == 15
    saved = torch.load(tmp_path / "out" / "prompt_learner" / "model.pth.tar-3", weights_only=True)["state_dict"]
    gates = saved["prompt_learner.gates"]
    assert torch.all(gates[:3] != 0)  # they were trained
    assert gates[3] == 0  # no token there
    deep = [f"image_encoder.transformer.resblocks.{layer}.VPT_shallow" for layer in (1, 2)]
    assert [key for key in saved if key.startswith("image_encoder.")] == ["image_encoder.VPT", *deep]


def test_examples_depth_is_checked(command, capsys):
    assert train.main(command("Growing", "TRAINER.GROWING.PROMPT_DEPTH", 0)) == 2
    assert "error: TRAINER.GROWING.PROMPT_DEPTH" in capsys.readouterr().err
