"""What breaks in the real Dassl (0.5.0 and 0.6.3) on a current PyTorch and numpy, fixed at run time.

No file of Dassl is changed, and each fix is made only if it is needed; the small Dassl needs none but the first:

- 0.6.3 imports the package `wilds` for data sets that are not used here: an empty one replaces it if not installed.
- It imports TensorBoard: if that does not import, nothing is written for it.
- The warm-up schedules pass PyTorch an argument `verbose`, which PyTorch 2.7 removed.
- RAdam calls `add_` in a deprecated way: if that no longer runs, PyTorch's own RAdam is used, with decoupled weight
  decay, as Dassl's has.
- `load_checkpoint` reads with PyTorch's default, which refuses Dassl's own checkpoints: they hold a schedule as an
  object. Ours accepts tensors, plain values, and the optimisers and schedules of PyTorch and Dassl.
- The logger closes the console when it is deleted.
- RandAugment and AutoAugment use `np.int`, which numpy 1.24 removed.
- It tries for ever to read a damaged image, and lets Pillow decode a file of any kind, whatever its name: images are
  read within bounds, and one that cannot be read ends the run with a message.
"""

import functools
import importlib
import importlib.util
import inspect
import sys
import types
import warnings
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
import torch

from modprompt.io.files import PathLike
from modprompt.io.image_files import FAMILY, read_rgb, rule_of

# how read_image decodes: set only while DatasetWrapper makes a sample, since Dassl passes read_image nothing but a path
_rule: ContextVar[str] = ContextVar("rule", default=FAMILY)


def mend_wilds() -> str:
    if importlib.util.find_spec("wilds") is not None:
        return ""
    module: Any = types.ModuleType("wilds")
    module.get_dataset = None
    module.__spec__ = importlib.util.spec_from_loader("wilds", loader=None)
    sys.modules["wilds"] = module
    return "The package wilds is not installed, so an empty module replaces wilds."


class _NoWriter:
    """A SummaryWriter that writes nothing, and says so."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        print("TensorBoard cannot be imported, so no TensorBoard logs are written.")

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None


def mend_tensorboard() -> str:
    try:
        importlib.import_module("torch.utils.tensorboard")
    except ImportError as error:
        module: Any = types.ModuleType("torch.utils.tensorboard")
        module.SummaryWriter = _NoWriter
        sys.modules[module.__name__] = module
        return f"TensorBoard cannot be imported ({error}), so no TensorBoard logs are written."
    return ""


def mend_warmup() -> str:
    base: Any = getattr(importlib.import_module("dassl.optim.lr_scheduler"), "_BaseWarmupScheduler", None)
    scheduler: Any = torch.optim.lr_scheduler.LRScheduler
    if base is None or "verbose" in inspect.signature(scheduler.__init__).parameters:
        return ""

    def init(
        self: Any, optimizer: Any, successor: Any, warmup_epoch: int, last_epoch: int = -1, verbose: bool = False
    ) -> None:
        self.successor, self.warmup_epoch = successor, warmup_epoch
        scheduler.__init__(self, optimizer, last_epoch)

    base.__init__ = init
    return "Warm-up schedules no longer pass `verbose` to PyTorch, which has removed this argument."


def mend_radam() -> str:
    optimizer: Any = importlib.import_module("dassl.optim.optimizer")
    if not hasattr(optimizer, "RAdam"):
        return ""
    parameter = torch.zeros(1, requires_grad=True)
    parameter.grad = torch.ones(1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            optimizer.RAdam([parameter], lr=0.1).step()
    except TypeError:
        optimizer.RAdam = functools.partial(torch.optim.RAdam, decoupled_weight_decay=True)
        return "OPTIM.NAME radam uses PyTorch's RAdam, because Dassl's RAdam does not run with this version of PyTorch."
    return ""


def mend_loading() -> str:
    def load_checkpoint(fpath: Any) -> Any:
        from modprompt.io.tensors import read_run

        return read_run(fpath, None if torch.cuda.is_available() else "cpu")

    _replace("dassl.utils.torchtools", "load_checkpoint", load_checkpoint)
    return "`load_checkpoint` reads Dassl's own checkpoints, but rejects other pickled objects."


def _replace(module: str, name: str, ours: Any) -> None:
    """Put a function in a module's place of that name, and of all that imported it: Dassl's, and a codebase's."""
    theirs = getattr(importlib.import_module(module), name)
    for other in list(sys.modules.values()):
        names = getattr(other, "__dict__", {})
        if names.get(name) is theirs:
            names[name] = ours


def mend_logger() -> str:
    from dassl.utils import Logger

    if "self.console.close" not in inspect.getsource(Logger.close):
        return ""

    def close(self: Any) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None

    Logger.close = close
    return "Dassl's logger no longer closes the console."


def mend_numpy() -> str:
    if "int" in vars(np):
        return ""
    for name in ("randaugment", "autoaugment"):
        module: Any = importlib.import_module(f"dassl.data.transforms.{name}")
        module.np = types.SimpleNamespace(**{**vars(np), "int": int})  # for this module only
    return "RandAugment and AutoAugment use `int` instead of `np.int`, which NumPy has removed."


def mend_images() -> str:
    wrapper: Any = importlib.import_module("dassl.data.data_manager").DatasetWrapper
    _replace("dassl.utils.tools", "read_image", read_image)
    wrapper.__getitem__ = _by_own_rule(wrapper.__getitem__)
    wrapper.__reduce__ = _to_a_worker
    return "Images are read with limits on their size, and an image that cannot be read ends the run with a message."


def read_image(path: PathLike, rule: str | None = None) -> Any:
    """Read an image file in place of Dassl's function of this name.

    Args:
        path: the image file.
        rule: how the file is decoded (see modprompt.io.image_files). Dassl names no rule: the rule is then that of the
            data set whose DatasetWrapper needs the image, and outside of a DatasetWrapper that of the CoOp family.
    """
    return read_rgb(path, rule or _rule.get())


def _by_own_rule(get_item: Callable[[Any, int], Any]) -> Callable[[Any, int], Any]:
    """Return DatasetWrapper.__getitem__ so that images are decoded as INPUT.DECODING of its configuration says."""

    @functools.wraps(get_item)
    def get(self: Any, index: int) -> Any:
        token = _rule.set(rule_of(getattr(self, "cfg", None)))
        try:
            return get_item(self, index)
        finally:
            _rule.reset(token)

    return get


def _to_a_worker(dataset: Any) -> Any:
    """Pickle a data set for a loader's worker that is not a fork: a new process, where nothing is fixed yet."""
    kind = type(dataset)
    return _in_a_worker, (kind.__module__, kind.__qualname__), vars(dataset)


def _in_a_worker(module: str, name: str) -> Any:
    apply()
    kind: Any = functools.reduce(getattr, name.split("."), importlib.import_module(module))
    return kind.__new__(kind)  # its content follows


_MENDS = (
    mend_wilds, mend_tensorboard,  # before Dassl is imported
    mend_warmup, mend_radam, mend_loading, mend_logger, mend_numpy, mend_images,
)  # fmt: skip
_done: list[str] = []


def apply() -> list[str]:
    """Make the fixes that are needed, once; a message for each."""
    spec = importlib.util.find_spec("dassl")
    is_small = spec is not None and Path(__file__).resolve().parent in Path(str(spec.origin)).resolve().parents
    if not _done:  # a codebase may import wilds itself
        _done.extend(filter(None, map(made, _MENDS[:1] if is_small else _MENDS)))
    return list(_done)


def made(mend: Callable[[], str]) -> str:
    try:
        return mend()
    except ImportError as error:  # a codebase's own Dassl need not have all modules
        package = str(error.name).partition(".")[0]
        if isinstance(error, ModuleNotFoundError) and package != "dassl" and importlib.util.find_spec(package) is None:
            raise
        return ""
