"""Exact float32: TF32 is off while a model with float32 weights computes on a GPU, and restored afterwards.

A backward pass is the caller's, and runs after the model's call. So the model's outputs have hooks: TF32 is turned
off when the first gradient comes in, and restored when that backward pass ends, also if it fails.

PyTorch has two names for it: `allow_tf32`, and from 2.9 on `fp32_precision`. Reading either fails where they differ,
so both are always set to the same.
"""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple, TypeVar, cast

import torch
from torch import Tensor
from torch.autograd import Variable

from modprompt.engine.weight_cache import is_compiling

F = TypeVar("F", bound=Callable[..., Any])

_PLACES: dict[str, Any] = {"matmul": torch.backends.cuda.matmul, "cudnn": torch.backends.cudnn}
_AS_IT_IS = ("ieee", "none")


class Allowed(NamedTuple):
    """What a process allows: by place under the older and the newer name, and its precision of matrix products."""

    older: dict[str, bool]  # where it can be read: not where the two names disagree
    newer: dict[str, str]
    word: str


def exactly(method: F) -> F:
    """Decorator of a model's methods: TF32 is off in them, and while gradients of their outputs are computed.

    The model has an image_encoder and a text_encoder. On a CPU, in half precision, and within torch.compile nothing is
    done.
    """

    @functools.wraps(method)
    def call(self: Any, *inputs: Any, **named: Any) -> Any:
        if is_compiling() or not _matters(self):
            return method(self, *inputs, **named)
        with off(self):
            found = method(self, *inputs, **named)
        for one in found if isinstance(found, tuple) else (found,):
            if isinstance(one, Tensor) and one.requires_grad:
                one.register_hook(_off_until_the_end)
        return found

    return cast(F, call)


def _matters(model: Any) -> bool:
    return bool(model.text_encoder.device.type == "cuda" and model.image_encoder.feature_type == torch.float32)


@contextlib.contextmanager
def off(model: Any) -> Iterator[None]:
    """Within it TF32 is off, if a model has float32 weights on a GPU."""
    if not _matters(model):
        yield
        return
    needed = _Needed()
    try:
        yield
    finally:
        needed.no_more()


def _off_until_the_end(gradient: Tensor) -> None:
    Variable._execution_engine.queue_callback(_Needed().no_more)


class _Needed:
    """Stands for one computation without TF32: the first, of all threads, turns it off, the last restores it.

    A backward pass that fails drops it without a call of `no_more`.
    """

    _lock = threading.RLock()  # __del__ may run while the same thread holds it
    _count = 0
    _was: ClassVar[Allowed | None] = None

    def __init__(self) -> None:
        self._counts = True
        with _Needed._lock:
            if not _Needed._count:
                _Needed._was = without_tf32()
            _Needed._count += 1

    def no_more(self) -> None:
        with _Needed._lock:
            if not self._counts:
                return
            self._counts = False
            _Needed._count -= 1
            if not _Needed._count and _Needed._was is not None:
                give_back(_Needed._was)

    def __del__(self) -> None:
        self.no_more()


# ---------------------------------------------------------------- the switch itself


def without_tf32() -> Allowed | None:
    """Turn TF32 off; returns what was allowed before, for `give_back`, or None if it was off.

    A process that has frozen its flags (`torch.backends.disable_global_flags`) keeps them: PyTorch would refuse.
    """
    if torch.backends.flags_frozen():
        return None
    older, newer = _older(), {name: one.fp32_precision for name, one in _newer().items()}
    there = [name for name in _PLACES if _has_older(name)]
    known = all(name in older and not older[name] for name in there)
    if known and all(one in _AS_IT_IS for one in newer.values()):
        return None
    was = Allowed(older, newer, _word())
    _set(Allowed(dict.fromkeys(there, False), dict.fromkeys(newer, "ieee"), ""))
    return was


def give_back(was: Allowed) -> None:
    """Allow what was allowed when `without_tf32` was called."""
    _set(was)


def _newer() -> dict[str, Any]:
    """The parts with a float32 precision of their own, in PyTorch 2.9 and newer."""
    if not hasattr(torch.backends, "fp32_precision"):
        return {}
    convolutions = {name: getattr(torch.backends.cudnn, name) for name in ("conv", "rnn")}
    return {"matmul": torch.backends.cuda.matmul, **convolutions}


def _older() -> dict[str, bool]:
    found = {}
    for name, place in _PLACES.items():
        with contextlib.suppress(RuntimeError, AttributeError):
            found[name] = place.allow_tf32
    return found


def _has_older(name: str) -> bool:
    """Whether this PyTorch still has the older name."""
    try:
        _ = _PLACES[name].allow_tf32
    except AttributeError:
        return False
    except RuntimeError:  # the two names disagree
        pass
    return True


def _word() -> str:
    """The result of torch.get_float32_matmul_precision; empty where it is missing or fails."""
    try:
        return torch.get_float32_matmul_precision()
    except (AttributeError, RuntimeError):
        return ""


def _set(allowed: Allowed) -> None:
    """Set both names, the older first, since it sets the newer too."""
    for name, on in allowed.older.items():
        _PLACES[name].allow_tf32 = on
    if allowed.word == "medium":  # allow_tf32 cannot tell it from "high"
        torch.set_float32_matmul_precision(allowed.word)
    parts = _newer()
    for name, wanted in allowed.newer.items():
        parts[name].fp32_precision = "none"  # inherit from the wider setting
        if parts[name].fp32_precision != wanted:
            parts[name].fp32_precision = wanted
