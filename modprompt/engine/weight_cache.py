"""What a GPU needs of frozen weights in addition to them: computed once, and again when they change.

A step on a GPU waits for kernel launches. With these, a normalisation of half-precision tokens is one kernel instead
of three (cast, normalise, cast back), and a bias is added within its product.
"""

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modprompt.engine import text_layout


class _Made(NamedTuple):
    """What was made of a module's tensors, and their state at that time."""

    state: tuple[Any, ...]
    of: tuple[Tensor, ...]  # kept, so that no other tensor gets their memory
    value: Any


def _version(tensor: Tensor) -> int | None:
    return None if tensor.is_inference() else tensor._version


def state_of(tensors: Sequence[Tensor]) -> tuple[Any, ...]:
    """Changes whenever a tensor is moved, cast, replaced, or written in place, except through `.data`."""
    return tuple((x.data_ptr(), _version(x), x.shape, x.dtype, x.device) for x in tensors)


_PORTION = 1 << 18  # elements that are summed at a time
_WHOLE = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by the bytes of an element


class _Recorded(NamedTuple):
    """A parameter at the time of a record."""

    place: Mapping[str, Tensor | None]  # the parameters of its module
    name: str
    tensor: Tensor
    version: int | None
    shape: torch.Size
    checksum: Tensor


class WeightRecord:
    """A record of parameters, which shows without reading their values that these have changed.

    Parameters that are replaced or written in place are noticed; then their values decide, since
    DistributedDataParallel writes equal ones. Moves and casts are no changes. Writes through `.data` are not noticed.

    Args:
        parameters: the module and the name of each.
    """

    def __init__(self, parameters: Sequence[tuple[nn.Module, str]]):
        self._recorded = [record for module, name in parameters for record in _record_of(module._parameters, name)]

    def is_current(self) -> bool:
        """Return True unless a parameter has other values than at the time of the record."""
        for place, name, tensor, version, shape, _ in self._recorded:
            if place.get(name) is not tensor or _version(tensor) != version or tensor.shape != shape:
                return self._has_equal_values()
        return True

    def _has_equal_values(self) -> bool:
        """Compare checksums, and record the parameters anew if these are equal."""
        now = [new for old in self._recorded for new in _record_of(old.place, old.name)]
        pairs = zip(self._recorded, now)
        equal = len(now) == len(self._recorded) and all(
            old.shape == new.shape and torch.equal(old.checksum.to(new.checksum.device), new.checksum)
            for old, new in pairs
        )
        if equal:
            self._recorded = now
        return equal


def _record_of(place: Mapping[str, Tensor | None], name: str) -> list[_Recorded]:
    """Return the record of a parameter in a list, which is empty if the module does not have the parameter."""
    tensor = place.get(name)
    if tensor is None:
        return []
    bits = tensor.detach().view(_WHOLE[tensor.element_size()])
    rows = max(1, _PORTION * len(bits) // max(1, bits.numel())) if bits.dim() else 1
    parts = bits.split(rows) if bits.dim() else [bits]  # torch converts what it sums to int64, which needs memory
    checksum = torch.stack([part.sum() for part in parts]).sum()  # the same on any device
    return [_Recorded(place, name, tensor, _version(tensor), tensor.shape, checksum)]


_made: "weakref.WeakKeyDictionary[nn.Module, _Made]" = weakref.WeakKeyDictionary()


def forget(root: nn.Module) -> None:
    """Drop what was made of a module's parts, to be made again when next needed: for changes through `.data`."""
    for module in root.modules():
        _made.pop(module, None)


def is_compiling() -> bool:
    """Whether the caller is being compiled by torch.compile."""
    return bool(torch.compiler.is_compiling())


def _once(module: nn.Module, make: Callable[[Tensor, Tensor], Any]) -> Any:
    """`make(weight, bias)` of a frozen module, made once for each state of the two."""
    tensors = tuple(getattr(module, name).detach() for name in ("weight", "bias"))
    state = state_of(tensors)
    made = _made.get(module)
    if made is None or made.state != state:
        with torch.inference_mode(False), torch.no_grad():
            made = _made[module] = _Made(state, tensors, make(*tensors))
    return made.value


def _exact_halves(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor] | None:
    """Weight and bias in half precision, if that holds them exactly."""
    halves = weight.half(), bias.half()
    exact = all(torch.equal(half.to(whole.dtype), whole) for half, whole in zip(halves, (weight, bias)))
    return halves if exact else None


def _is_frozen(norm: nn.LayerNorm) -> bool:
    return isinstance(norm, nn.LayerNorm) and norm.weight.dtype == torch.float32 and not norm.weight.requires_grad


def normalise(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    """norm(x) in the type of x (N, D), for a norm that computes in float32.

    On a GPU half tokens are normalised with half weights, if these have exactly the same values: the kernel computes in
    float32 all the same, and rounds once, as the casts around a float32 kernel do.
    """
    if x.dtype == torch.float16 and text_layout.counts_launches(x.device) and _is_frozen(norm) and not is_compiling():
        halves = _once(norm, _exact_halves)
        if halves is not None:
            weight, bias = halves
            return F.layer_norm(x, x.shape[-1:], weight, bias, norm.eps)
    found: Tensor = norm(x)
    return found


def scaled_bias(linear: nn.Linear, scale: float) -> Tensor:
    """scale * bias of a frozen layer; a layer must always be asked for the same scale."""
    if is_compiling():  # the compiler fuses it with another kernel, and cannot read what is kept
        return linear.bias * scale
    bias: Tensor = _once(linear, lambda _, bias: bias * scale)
    return bias
