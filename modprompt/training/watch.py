"""What a step does, operation by operation: whether it can be recorded, does the same each time, and what it reads."""

from typing import Any, Dict, List, Mapping, Optional, Sequence, Set, Tuple

import torch
from torch import Tensor

_Mode: Any = object
if hasattr(torch, "_fused_sgd_"):  # older ones record nothing, and have no modes or other ones
    from torch.utils._python_dispatch import TorchDispatchMode as _Mode

_NOTHING = ("aten.detach.default", "aten.alias.default")  # of what does nothing PyTorch does more or less
Operation = Tuple[Any, ...]  # its name, then each tensor's shape, type and place, if held, and all else as text


class Watch(_Mode):  # type: ignore[misc]  # a class, or object where there are no modes
    """Within it every operation of this thread, and of its backward pass, is written down and run.

    Args:
        batch: tensors that are others each time; what they lie in is neither noted nor held.

    Attributes:
        operations: what was run, in turn.
        obstacle: why this cannot be recorded, by the first operation that stands against it; "" if nothing does.
        held: the memory that was there before and is read or written.
    """

    def __init__(self, batch: Sequence[Tensor] = ()) -> None:
        super().__init__()
        self.operations: List[Operation] = []
        self.obstacle = ""
        self.held: Dict[int, Any] = {}
        self._made: Set[int] = {key for key, _ in _storages(batch)}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Optional[Mapping[str, Any]] = None
    ) -> Any:
        """Run one operation."""
        kwargs = kwargs or {}
        if func.namespace in ("profiler", "prim"):
            return func(*args, **kwargs)
        given = _leaves((args, dict(kwargs)))
        self.held.update((key, storage) for key, storage in _storages(given) if key not in self._made)
        if str(func) not in _NOTHING:
            self.operations.append((str(func), *map(self._as_noted, given)))
        result = func(*args, **kwargs)
        made = _leaves(result)
        self._made.update(key for key, _ in _storages(made))
        self.obstacle = self.obstacle or _obstacle(func, args, kwargs, _tensors(given), _tensors(made))
        return result

    def _as_noted(self, leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return repr(leaf)
        key = leaf.untyped_storage()._cdata
        where = (key, leaf.storage_offset(), leaf.stride()) if key in self.held else ()
        return (tuple(leaf.shape), leaf.dtype, *where)


def _leaves(tree: Any) -> List[Any]:
    leaves: List[Any] = torch.utils._pytree.tree_flatten(tree)[0]
    return leaves


def _tensors(leaves: Sequence[Any]) -> List[Tensor]:
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


def _storages(leaves: Sequence[Any]) -> List[Tuple[int, Any]]:
    found = [tensor.untyped_storage() for tensor in _tensors(leaves)]
    return [(storage._cdata, storage) for storage in found]


def _obstacle(
    func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], given: Sequence[Tensor], made: Sequence[Tensor]
) -> str:
    name = str(func)
    if _waits(name, func.tags, args, kwargs):
        return f"the step waits for the device ({name})"
    if ("copy" in name or "index" in name) and len({tensor.device for tensor in (*given, *made)}) > 1:
        return f"the step copies from one device to another ({name})"
    if _takes_a_number_of_the_cpu(name, given):
        return f"the step gives the device a number that lies in a CPU tensor ({name})"
    if _may_draw(name, func.tags) and made and made[0].device.type == "cpu":
        return f"the step draws random numbers on the CPU ({name})"
    return ""


def _takes_a_number_of_the_cpu(name: str, given: Sequence[Tensor]) -> bool:
    """Attention does, but it is its own: where its dropout begins, which nobody asks for."""
    return {"cpu"} < {tensor.device.type for tensor in given} and "attention" not in name


def _may_draw(name: str, tags: Any) -> bool:
    """Attention is said to, but it does not: nobody asks for its dropout."""
    return torch.Tag.nondeterministic_seeded in tags and "attention" not in name


def _waits(name: str, tags: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether the host needs a value of the device to go on."""
    if name.startswith(("aten.index.", "aten.index_put", "aten._index_put", "aten._unsafe_index")):
        return any(index.dtype in (torch.bool, torch.uint8) for index in _tensors(_leaves(args[1])))
    if torch.Tag.dynamic_output_shape in tags:
        return kwargs.get("output_size") is None
    return torch.Tag.data_dependent_output in tags
