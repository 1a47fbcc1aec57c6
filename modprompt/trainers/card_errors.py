"""PyTorch's errors on too little memory (a GPU's or not), too much at once, or no repeatable form, as one message."""

import contextlib
import functools
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

import torch

from modprompt.errors import OutOfMemory, UserError
from modprompt.io.settings import level_of
from modprompt.trainers.device import WORKSPACE

TRAINING, TEST = "DATALOADER.TRAIN_X.BATCH_SIZE", "DATALOADER.TEST.BATCH_SIZE"
_FULL = re.compile(r"out of memory|can't allocate memory|not enough memory|could not create a primitive|_ALLOC_FAILED")
_TOO_MANY = "invalid configuration argument"  # CUDA's, on more blocks in a direction than there can be
_TRIED = re.compile(r"tried to allocate ([\d.]+ \w+)", re.IGNORECASE)
_NO_THREAD = "can't start new thread"  # Python's, for lack of memory or at a limit of processes
_NO_FORM = re.compile(r"(\S+) does not have a deterministic implementation")
_WITHOUT_THREADS = "the system gives this process no more threads: raise its limit of memory (ulimit -v) or processes"
F = TypeVar("F", bound=Callable[..., Any])


def _value(cfg: Any, key: str) -> Any:
    node, name = level_of(cfg, key)
    return "unset" if node is None else node.get(name, "unset")


def _wanted(said: str) -> str:
    tried = _TRIED.search(said)
    return f" (for {tried.group(1)})" if tried else ""


def _out_of_memory(trainer: Any, cfg: Any, batch: str, said: str) -> str:
    of = _wanted(said)
    node = getattr(trainer, "node_name", "")
    if not node:  # nothing is trained
        return f"out of memory{of}: give a smaller {batch} (now {_value(cfg, batch)})"
    precision = f"TRAINER.{node}.PREC"
    return (
        f"out of memory{of}: give a smaller MODEL.TEXT_CHUNK (now {_chunk(cfg)}) or {batch} "
        f"(now {_value(cfg, batch)}), or {precision} fp16 or amp (now {_value(cfg, precision)})"
    )


def _too_many(trainer: Any, cfg: Any, batch: str) -> str:
    chunk = f"MODEL.TEXT_CHUNK (now {_chunk(cfg)}) or " if getattr(trainer, "node_name", "") else ""
    what = f"more is computed at once than the GPU allows ({_TOO_MANY})"
    return f"{what}: give a smaller {chunk}{batch} (now {_value(cfg, batch)})"


def _chunk(cfg: Any) -> Any:
    return _value(cfg, "MODEL.TEXT_CHUNK") or "0: as memory allowed"


def _line(trainer: Any, cfg: Any, batch: str, error: RuntimeError) -> str:
    """What a user can do about an error of PyTorch; empty for another kind of error."""
    said = str(error)
    if _NO_THREAD in said:
        return _WITHOUT_THREADS
    if _FULL.search(said):
        return _out_of_memory(trainer, cfg, batch, said)
    if _TOO_MANY in said:
        return _too_many(trainer, cfg, batch)
    without = _NO_FORM.search(said)
    if without:
        return (
            f"MODEL.DETERMINISTIC True: {without.group(1)} has no deterministic form on this device in PyTorch "
            f"{torch.__version__}: run without MODEL.DETERMINISTIC, in another --output-dir"
        )
    if WORKSPACE in said:
        return f"MODEL.DETERMINISTIC True: cuBLAS has started without {WORKSPACE}=:4096:8: set it in the environment"
    return ""


@contextlib.contextmanager
def told(trainer: Any, cfg: Any, batch: str = TRAINING) -> Iterator[None]:
    """In this context such errors become a UserError; those of memory an OutOfMemory, which has its own exit code.

    Args:
        trainer: whose work it is.
        cfg: the run's configuration.
        batch: the setting for the number of images that are computed at a time.
    """
    try:
        yield
    except RuntimeError as error:
        line = _line(trainer, cfg, batch, error)
        if not line:
            raise
        raise (OutOfMemory if _FULL.search(str(error)) else UserError)(line) from error


@contextlib.contextmanager
def told_outside() -> Iterator[None]:
    """In this context, before there is a trainer, lack of memory becomes an OutOfMemory."""
    try:
        yield
    except RuntimeError as error:
        if _NO_THREAD in str(error):
            raise UserError(_WITHOUT_THREADS) from error
        if not _FULL.search(str(error)):
            raise
        raise OutOfMemory(f"out of memory{_wanted(str(error))}: give this program more, or end others") from error


def in_a_test(test: F) -> F:
    """Decorator: `told` for a trainer's test, which scripts of other codebases also call directly."""

    @functools.wraps(test)
    def tested(self: Any, *args: Any, **kwargs: Any) -> Any:
        with told(self, self.cfg, TEST):
            return test(self, *args, **kwargs)

    return cast(F, tested)
