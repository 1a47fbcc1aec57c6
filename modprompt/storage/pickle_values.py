"""What stands for the values of a pickle while it is gone through: what each may be, and what it costs.

A cost is counted in steps of a loader that copies it, or in characters if it were printed.
"""

from typing import Any, Dict, NamedTuple, Optional, Sequence

from modprompt.storage.opening import Refused

_MOST_DEPTH = 100
_REPEATS = 1 << 60  # whole numbers from here on can be chosen so that all of them have one hash
_SCALARS = (str, int, float, bool, bytes, type(None))
ITEM_SIZES = {
    "DoubleStorage": 8,
    "FloatStorage": 4,
    "HalfStorage": 2,
    "BFloat16Storage": 2,
    "LongStorage": 8,
    "IntStorage": 4,
    "ShortStorage": 2,
    "CharStorage": 1,
    "ByteStorage": 1,
    "BoolStorage": 1,
    "ComplexDoubleStorage": 16,
    "ComplexFloatStorage": 8,
}


class Storage(NamedTuple):
    """What a pickle says of a storage: its key in the file, its type's name, and its number of elements."""

    key: str
    kind: str
    numel: int

    @property
    def size(self) -> int:
        """In bytes."""
        return self.numel * ITEM_SIZES[self.kind]


class Node:
    """Stands for what the loader would make: a container, a named thing, a storage or a tensor."""

    __slots__ = ("children", "kind", "value")

    def __init__(self, kind: str, children: Sequence[Any] = (), value: Any = None):
        self.kind, self.children, self.value = kind, list(children), value


def is_a(item: Any, *kinds: str) -> bool:
    """Whether a value is a node of one of these kinds."""
    return isinstance(item, Node) and item.kind in kinds


def is_counts(item: Any) -> bool:
    """Whether a value is a tuple of whole numbers from 0 up, as sizes and strides are."""
    return is_a(item, "tuple") and all(type(child) is int and child >= 0 for child in item.children)


def is_flag(item: Any) -> bool:
    """Whether a value is true, false or none."""
    return item is None or isinstance(item, bool)


def is_key(item: Any) -> bool:
    """Whether a value may be a key: what hashes fast, and not as other keys on purpose do."""
    if isinstance(item, int):
        return abs(item) < _REPEATS
    return isinstance(item, _SCALARS) or item.kind == "tensor"  # a tensor's hash is its identity


def storage_of(item: Any) -> Optional[Storage]:
    """The storage that a persistent id names; None if it is not in PyTorch's form."""
    if not is_a(item, "tuple") or len(item.children) not in (5, 6):
        return None
    word, kind, key, location, numel, *view = item.children
    word, key, location = (part.decode("ascii") if isinstance(part, bytes) else part for part in (word, key, location))
    if word != "storage" or not is_a(kind, "name") or any(part is not None for part in view):
        return None
    module, _, name = kind.value.rpartition(".")
    if module not in ("torch", "torch.storage") or name not in ITEM_SIZES or not isinstance(location, str):
        return None
    if not isinstance(key, str) or type(numel) is not int or numel < 0:
        return None
    return Storage(key, name, numel)


def cost(items: Sequence[Any]) -> int:
    """Steps that a loader takes to copy these values: one for each thing in them, or for some bytes."""
    copied = (len(item.children) if isinstance(item, Node) else _width(item) // 16 for item in items)
    return len(items) + sum(copied)


def _width(item: Any) -> int:
    if isinstance(item, (str, bytes)):
        return len(item) + 4
    return item.bit_length() // 3 + 4 if isinstance(item, int) else 24


class _Open:
    """A node that is being measured: its children that are left, and its width so far."""

    __slots__ = ("left", "node", "width")

    def __init__(self, node: Node):
        self.node, self.left, self.width = node, iter(node.children), 8


def measure(root: Any, most: int) -> None:
    """Refuse what is nested too deep, contains itself, or would be longer than `most` characters if it were printed.

    Raises:
        Refused: of such a value.
    """
    widths: Dict[int, int] = {}  # of nodes that are done; the others on the way are in `path`
    entered = {id(root)}
    path = [_Open(root)] if isinstance(root, Node) else []
    while path:
        last = path[-1]
        for child in last.left:
            if not isinstance(child, Node):
                last.width += _width(child)
            elif id(child) in widths:
                last.width += widths[id(child)]
            elif id(child) in entered or len(path) == _MOST_DEPTH:
                raise Refused("it contains itself, or is nested too deep")
            else:
                entered.add(id(child))
                path.append(_Open(child))
                break
            if last.width > most:
                raise Refused("it would be far longer than its file if it were written out")
        else:
            widths[id(last.node)] = path.pop().width
            if path:
                path[-1].width += last.width
