"""Float32 as it is: TF32 is off while a model with float32 weights computes on a GPU, and given back after that.

A backward pass is the caller's, and runs when the model's call is over. So the model's outputs have hooks: TF32 goes
off when the first gradient comes in, and is given back when that backward pass ends, well or not.

PyTorch has two names for it: `allow_tf32`, and from 2.9 on `fp32_precision`. It refuses to be asked where they differ,
so that both are always set to the same.
"""

import contextlib
import functools
import threading
from typing import Any, Callable, ClassVar, Dict, Iterator, NamedTuple, Optional, TypeVar, cast

import torch
from torch import Tensor
from torch.autograd import Variable

from modprompt.engine.weight_cache import is_compiling

F = TypeVar("F", bound=Callable[..., Any])

_PLACES: Dict[str, Any] = {"matmul": torch.backends.cuda.matmul, "cudnn": torch.backends.cudnn}
_AS_IT_IS = ("ieee", "none")


class Allowed(NamedTuple):
    """What a process allows: by place under the older name and under the newer, and its word for products."""

    older: Dict[str, bool]  # where it can be asked: not where both names were used against each other
    newer: Dict[str, str]
    word: str


def exactly(method: F) -> F:
    """Decorator of a model's methods: TF32 is off in them, and where gradients of what they give are computed.

    The model has an image_encoder and a text_encoder. On a CPU, in half precision, and in what torch.compile looks
    into, nothing is done.
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
    """That somebody computes without TF32: the first, of all threads, turns it off, and the last gives it back.

    A backward pass that fails drops it, and never says that it needs no more.
    """

    _lock = threading.RLock()  # one that is dropped may come while another holds it
    _count = 0
    _was: ClassVar[Optional[Allowed]] = None

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


def without_tf32() -> Optional[Allowed]:
    """Turn it off; what was allowed before, for `give_back`, or None if it was off.

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


def _newer() -> Dict[str, Any]:
    """What has a float32 precision of its own, of PyTorch 2.9 and newer."""
    if not hasattr(torch.backends, "fp32_precision"):
        return {}
    convolutions = {name: getattr(torch.backends.cudnn, name) for name in ("conv", "rnn")}
    return {"matmul": torch.backends.cuda.matmul, **convolutions}


def _older() -> Dict[str, bool]:
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
    except RuntimeError:  # both names were used against each other
        pass
    return True


def _word() -> str:
    """What torch.get_float32_matmul_precision says; empty where it is not there or cannot tell."""
    try:
        return torch.get_float32_matmul_precision()
    except (AttributeError, RuntimeError):
        return ""


def _set(allowed: Allowed) -> None:
    """Under both names, the older first, which sets the newer too."""
    for name, on in allowed.older.items():
        _PLACES[name].allow_tf32 = on
    if allowed.word == "medium":  # which allow_tf32 does not tell from "high"
        torch.set_float32_matmul_precision(allowed.word)
    parts = _newer()
    for name, wanted in allowed.newer.items():
        parts[name].fp32_precision = "none"  # as a wider setting has it
        if parts[name].fp32_precision != wanted:
            parts[name].fp32_precision = wanted
