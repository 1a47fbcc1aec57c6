"""Each mend on a stand-in of what it mends; the whole suite also runs on the real Dassl (docs/hosts.md)."""

import importlib
import inspect
import io
import subprocess
import sys
import types

import dassl.optim.lr_scheduler
import dassl.optim.optimizer
import dassl.utils
import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR

from modprompt.compat import mends
from modprompt.errors import UserError

Scheduler = LambdaLR.__mro__[1]


class OldWarmup(Scheduler):  # type: ignore[valid-type, misc]  # its name is another in older versions
    """As Dassl's: one argument more than PyTorch takes."""

    def __init__(self, optimizer, successor, warmup_epoch, last_epoch=-1, verbose=False):
        self.successor = successor
        self.warmup_epoch = warmup_epoch
        super().__init__(optimizer, last_epoch, verbose, None)

    def get_lr(self):
        return [0.5 for _ in self.base_lrs]


@pytest.fixture
def optimiser():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)


def test_warmup_is_built_without_verbose(optimiser, monkeypatch):
    class Warmup(OldWarmup):
        pass

    monkeypatch.setattr(dassl.optim.lr_scheduler, "_BaseWarmupScheduler", Warmup, raising=False)
    if "verbose" in inspect.signature(Scheduler.__init__).parameters:
        assert mends.mend_warmup() == ""
        return
    with pytest.raises(TypeError):
        Warmup(optimiser, None, 1)
    assert mends.mend_warmup()
    successor = CosineAnnealingLR(optimiser, 2)
    schedule = Warmup(optimiser, successor, 1)
    assert (schedule.successor, schedule.warmup_epoch) == (successor, 1)
    assert optimiser.param_groups[0]["lr"] == 0.5


def test_logger_leaves_the_console_open(tmp_path, monkeypatch):
    class Logger:
        def __init__(self):
            self.console, self.file = io.StringIO(), (tmp_path / "log").open("w")

        def close(self):
            self.console.close()
            self.file.close()

    monkeypatch.setattr(dassl.utils, "Logger", Logger)
    assert mends.mend_logger()
    logger = Logger()
    console, file = logger.console, logger.file
    logger.close()
    assert not console.closed
    assert file.closed


def test_radam_that_does_not_run_is_replaced(monkeypatch):
    class Old(torch.optim.SGD):
        def step(self, closure=None):
            raise TypeError("add_() received an invalid combination of arguments")

    monkeypatch.setattr(dassl.optim.optimizer, "RAdam", Old, raising=False)
    assert mends.mend_radam()
    made = dassl.optim.optimizer.RAdam([torch.zeros(1, requires_grad=True)])
    assert isinstance(made, torch.optim.RAdam)
    assert made.defaults["decoupled_weight_decay"]  # as Dassl's


def test_one_module_sees_a_name_of_numpy_and_nobody_else(monkeypatch):
    module = types.ModuleType("dassl.data.transforms.randaugment")
    module.np = np
    for name in ("randaugment", "autoaugment"):
        monkeypatch.setitem(sys.modules, f"dassl.data.transforms.{name}", module)
    assert mends.mend_numpy()
    assert module.np.array([1.5]).astype(module.np.int).tolist() == [1]
    assert not hasattr(np, "int")


def test_load_checkpoint_of_dassl_is_ours_for_who_imported_it_too(optimiser, tmp_path, monkeypatch):
    def theirs(fpath):
        raise AssertionError("it would be refused")

    modules = [types.ModuleType(name) for name in ("dassl.utils.torchtools", "a_codebase")]
    for module in modules:
        module.load_checkpoint = theirs
        monkeypatch.setitem(sys.modules, module.__name__, module)
    assert mends.mend_loading()
    torch.save({"epoch": 1, "scheduler": {"successor": CosineAnnealingLR(optimiser, 2)}}, tmp_path / "a.pth.tar")
    for module in modules:
        assert module.load_checkpoint(str(tmp_path / "a.pth.tar"))["scheduler"]["successor"].T_max == 2
    torch.save({"epoch": subprocess.call}, tmp_path / "a.pth.tar")
    with pytest.raises(UserError, match=r"the file refers to \w+.call"):
        modules[0].load_checkpoint(str(tmp_path / "a.pth.tar"))


def test_tensorboard_is_done_without_where_it_does_not_import(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # an import fails
    assert mends.mend_tensorboard().startswith("TensorBoard cannot be imported (")
    writer = sys.modules["torch.utils.tensorboard"].SummaryWriter(log_dir=str(tmp_path / "log"))
    writer.add_scalar("train/loss", 1.0, 3)
    writer.close()
    assert capsys.readouterr().out == "TensorBoard cannot be imported, so no TensorBoard logs are written.\n"
    assert not (tmp_path / "log").exists()


def test_beside_the_small_dassl_only_what_a_codebase_imports_itself_is_mended(monkeypatch):
    if "stand_in" not in str(dassl.__file__):
        pytest.skip("the real Dassl is installed")
    monkeypatch.setattr(mends, "_done", [])
    monkeypatch.setattr(mends, "_MENDS", [lambda: "wilds", lambda: "of the real one"])
    assert mends.apply() == ["wilds"]


def test_a_dassl_that_lacks_a_module_is_not_mended_there():
    assert mends.made(lambda: str(importlib.import_module("dassl.gone"))) == ""
    with pytest.raises(ModuleNotFoundError, match="no_package"):  # without a package of others it does not run
        mends.made(lambda: str(importlib.import_module("no_package.part")))
