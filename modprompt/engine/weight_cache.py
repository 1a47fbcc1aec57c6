"""What a GPU wants to have of frozen weights beside the weights themselves: made once, and anew when they change.

A kernel's launch is what a step on a GPU waits for. With these, a normalisation of half-precision tokens is one kernel
instead of three (cast, normalise, cast back), and a bias is added within its product.
"""

import weakref
from typing import Any, Callable, List, NamedTuple, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modprompt.clip.structure import Norm
from modprompt.engine import text_layout


class _Made(NamedTuple):
    """What was made of a module's tensors, and of which state of them."""

    state: Tuple[Any, ...]
    of: Tuple[Tensor, ...]  # kept, so that their memory is not another tensor's while this is asked for
    value: Any


def _version(tensor: Tensor) -> Optional[int]:
    if hasattr(tensor, "is_inference") and tensor.is_inference():  # PyTorch 1.9 cannot be asked
        return None
    return tensor._version


def state_of(tensors: Sequence[Tensor]) -> Tuple[Any, ...]:
    """Changes whenever a tensor is moved, cast, replaced, or written in place but through `.data`."""
    return tuple((x.data_ptr(), _version(x), x.shape, x.dtype, x.device) for x in tensors)


_made: "weakref.WeakKeyDictionary[nn.Module, _Made]" = weakref.WeakKeyDictionary()


def forget(root: nn.Module) -> None:
    """Make anew, when it is next asked for, what was made of a module's parts: for changes through `.data`."""
    for module in root.modules():
        _made.pop(module, None)


def made_of(root: nn.Module) -> List[Any]:
    """What was made of a module's parts, to be held by who reads it from where it lies (methods/parts/graph.py)."""
    return [_made[module] for module in root.modules() if module in _made]


def is_compiling() -> bool:
    """Whether torch.compile is looking into what calls this."""
    asked = getattr(getattr(torch, "compiler", None), "is_compiling", None)  # not in every PyTorch
    return asked is not None and bool(asked())


def _once(module: nn.Module, make: Callable[[Tensor, Tensor], Any]) -> Any:
    """`make(weight, bias)` of a frozen module, made once for each state of the two."""
    tensors = tuple(getattr(module, name).detach() for name in ("weight", "bias"))
    state = state_of(tensors)
    made = _made.get(module)
    if made is None or made.state != state:
        with torch.inference_mode(False), torch.no_grad():
            made = _made[module] = _Made(state, tensors, make(*tensors))
    return made.value


def _exact_halves(weight: Tensor, bias: Tensor) -> Optional[Tuple[Tensor, Tensor]]:
    """Weight and bias in half precision, if that holds them exactly."""
    halves = weight.half(), bias.half()
    exact = all(torch.equal(half.to(whole.dtype), whole) for half, whole in zip(halves, (weight, bias)))
    return halves if exact else None


def _is_frozen(norm: Norm) -> bool:
    return isinstance(norm, nn.LayerNorm) and norm.weight.dtype == torch.float32 and not norm.weight.requires_grad


def normalise(norm: Norm, x: Tensor) -> Tensor:
    """norm(x) in the type of x (N, D), for a norm that computes in float32.

    On a GPU half tokens are normalised by half weights, if those are the very numbers: the kernel computes in float32
    all the same, and rounds once, as the casts around a float32 kernel do.
    """
    if x.dtype == torch.float16 and text_layout.counts_launches(x.device) and _is_frozen(norm) and not is_compiling():
        halves = _once(norm, _exact_halves)
        if halves is not None:
            weight, bias = halves
            return F.layer_norm(x, x.shape[-1:], weight, bias, norm.eps)
    return norm(x)


def scaled_bias(linear: nn.Linear, scale: float) -> Tensor:
    """scale * bias of a frozen layer; always of one scale for one layer."""
    if is_compiling():  # what compiles puts it into another kernel, and cannot look at what is kept
        return linear.bias * scale
    bias: Tensor = _once(linear, lambda _, bias: bias * scale)
    return bias
