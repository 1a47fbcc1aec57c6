"""What a pickle may have called, with which arguments, and what then stands for the thing that is made."""

from typing import Any, Callable, Dict, List, NamedTuple

from modprompt.storage.opening import Refused
from modprompt.storage.pickle_values import ITEM_SIZES, Node, Storage, is_a, is_counts, is_flag, is_key

_LEAST_ROOM = 64 << 20  # bytes that a tensor made larger by strides of 0 may take in any file
_LONGEST_TYPE = 32  # characters of the name of one of numpy's types
_NO = object()  # calls that are not admitted give it


class Rules(NamedTuple):
    """What a pickle may do: names it may ask for, whether a storage fits the file, and the file's size in bytes."""

    admits: Callable[[str, str], bool]
    has: Callable[[Storage], bool]
    file_size: int


def _tensor(arguments: List[Any], rules: Rules) -> Any:
    """A view of a storage that stays inside it."""
    if not 4 <= len(arguments) <= 7:
        return _NO
    storage, offset, sizes, strides, *rest = arguments
    if not is_a(storage, "storage") or type(offset) is not int or offset < 0:
        return _NO
    if not is_counts(sizes) or not is_counts(strides) or len(sizes.children) != len(strides.children):
        return _NO
    flag, hooks, more = [*rest, None, None, None][:3]
    if not is_flag(flag) or not (hooks is None or is_a(hooks, "dict")) or more is not None or len(sizes.children) > 64:
        return _NO
    numel, last = 1, offset
    for size, stride in zip(sizes.children, strides.children):
        numel *= size
        last += (size - 1) * stride
    item_size = ITEM_SIZES[storage.value.kind]
    if numel and last >= storage.value.numel or numel * item_size > max(rules.file_size, _LEAST_ROOM):
        raise Refused(f"it has a tensor that is larger than its storage {storage.value.key[:40]}")
    return Node("tensor")


def _parameter(arguments: List[Any], _: Rules) -> Any:
    if len(arguments) != 3 or not is_a(arguments[0], "tensor") or not is_flag(arguments[1]):
        return _NO
    return Node("tensor") if is_a(arguments[2], "dict") else _NO


def _ordered(arguments: List[Any], _: Rules) -> Any:
    """An OrderedDict: empty, or of [key, value] pairs as Python 2 wrote it."""
    if not arguments:
        return Node("dict")
    if len(arguments) != 1 or not is_a(arguments[0], "list"):
        return _NO
    pairs = arguments[0].children
    fit = all(is_a(pair, "list", "tuple") and len(pair.children) == 2 and is_key(pair.children[0]) for pair in pairs)
    return Node("dict", [item for pair in pairs for item in pair.children]) if fit else _NO


def _counter(arguments: List[Any], _: Rules) -> Any:
    if len(arguments) > 1 or not all(is_a(argument, "dict") for argument in arguments):
        return _NO
    return Node("dict", arguments[0].children if arguments else ())


def _default_dict(arguments: List[Any], _: Rules) -> Any:
    plain = all(argument is None or is_a(argument, "name") for argument in arguments)
    return Node("dict") if plain and len(arguments) < 2 else _NO


def _plain_dict(arguments: List[Any], _: Rules) -> Any:
    return _NO if arguments else Node("dict")


def _set(arguments: List[Any], _: Rules) -> Any:
    plain = all(is_a(item, "list") and not any(is_a(child, "tensor") for child in item.children) for item in arguments)
    fit = plain and len(arguments) == 1 and all(map(is_key, arguments[0].children))
    return Node("object", arguments) if fit else _NO


def _numpy_type(arguments: List[Any], _: Rules) -> Any:
    named = bool(arguments) and isinstance(arguments[0], (str, bytes)) and len(arguments[0]) <= _LONGEST_TYPE
    return Node("object", arguments, "numpy.dtype") if named else _NO


def _size(arguments: List[Any], _: Rules) -> Any:
    return Node("object", arguments) if len(arguments) == 1 and is_counts(arguments[0]) else _NO


def _bytes(arguments: List[Any], _: Rules) -> Any:
    """Bytes, which protocol 2 writes as text and the name of a codec."""
    if len(arguments) != 2 or not isinstance(arguments[0], str) or arguments[1] not in ("latin1", "latin-1"):
        return _NO
    return arguments[0].encode("latin1")


def _first(arguments: List[Any], _: Rules) -> Any:
    return arguments[0] if arguments else _NO


_CALLS: Dict[str, Callable[[List[Any], Rules], Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "collections.OrderedDict": _ordered,
    "collections.Counter": _counter,
    "collections.defaultdict": _default_dict,
    "builtins.dict": _plain_dict,
    "builtins.set": _set,
    "torch.Size": _size,
    "_codecs.encode": _bytes,
    "numpy.dtype": _numpy_type,
    "torch.jit._pickle.restore_type_tag": _first,
}


def called(name: str, arguments: Node, rules: Rules) -> Any:
    """What stands for the thing that a call makes; any name whose arguments are not known here makes an object.

    Args:
        name: what is called.
        arguments: a tuple.
        rules: of the file; a tensor must fit it.

    Raises:
        Refused: on arguments that PyTorch does not write.
    """
    make = _CALLS.get(name)
    made = Node("object", [arguments], name) if make is None else make(arguments.children, rules)
    if made is _NO:
        raise Refused(f"it calls {name} with arguments that PyTorch does not write")
    return made
