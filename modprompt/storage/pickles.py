"""One pass over the opcodes of a pickle, before any loader gets it: it makes nothing, and can only refuse.

No loader stops a pickle whose keys take for ever to hash, whose few lists print as a thousand million, or whose tensors
reach beyond their storage. The pass follows the pickle's stack with stand-ins and refuses those; it also refuses every
name that is not admitted, and opcodes that PyTorch does not write. It decides nothing else.
"""

import struct
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

from modprompt.storage.opening import Refused

MOST_BYTES = 64 << 20  # of a pickle; storages are not in it
_MOST_STEPS = 2_000_000
_MOST_DEPTH = 100
_LEAST_ROOM = 64 << 20  # bytes that a tensor made larger by strides of 0 may take in any file
_REPEATS = 1 << 60  # whole numbers from here on can be chosen so that all of them have one hash
_LONGEST_TYPE = 32  # characters of the name of one of numpy's types
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


class Rules(NamedTuple):
    """What a pickle may do: names it may ask for, whether a storage fits the file, and the file's size in bytes."""

    admits: Callable[[str, str], bool]
    has: Callable[[Storage], bool]
    file_size: int


class Checked(NamedTuple):
    """A pickle that was not refused: where it ends, the names it asks for, its storages, and what it is if plain."""

    end: int
    names: List[str]
    storages: Dict[str, Storage]
    root: Any


class _Node:
    """Stands for what the loader would make: a container, a named thing, a storage or a tensor."""

    __slots__ = ("children", "kind", "value")

    def __init__(self, kind: str, children: Sequence[Any] = (), value: Any = None):
        self.kind, self.children, self.value = kind, list(children), value


def _is_key(item: Any) -> bool:
    if isinstance(item, int):
        return abs(item) < _REPEATS
    return isinstance(item, _SCALARS) or item.kind == "tensor"  # a tensor's hash is its identity


def _cost(items: Sequence[Any]) -> int:
    """Steps that a loader takes to copy these values: one for each thing in them, or for some bytes."""
    copied = (len(item.children) if isinstance(item, _Node) else _width(item) // 16 for item in items)
    return len(items) + sum(copied)


def _of(item: Any, *kinds: str) -> bool:
    return isinstance(item, _Node) and item.kind in kinds


def _is_counts(item: Any) -> bool:
    return _of(item, "tuple") and all(type(child) is int and child >= 0 for child in item.children)


def _is_flag(item: Any) -> bool:
    return item is None or isinstance(item, bool)


class _Pass:
    """The stack, marks and memo of a pickle, with nodes in place of objects."""

    def __init__(self, text: bytes, start: int, rules: Rules):
        self.text, self.at, self.rules = text, start, rules
        self.stack: List[Any] = []
        self.marks: List[List[Any]] = []
        self.memo: Dict[int, Any] = {}
        self.names: Dict[str, None] = {}
        self.storages: Dict[str, Storage] = {}
        self.steps = 0

    def run(self) -> Checked:
        start = self.at
        while True:
            self.steps += 1
            if self.steps > _MOST_STEPS or self.at - start > MOST_BYTES:
                raise Refused("it holds more values than any checkpoint")
            code = self.take(1)[0]
            if code == 0x2E:  # STOP
                root = self.stack.pop()
                _measure(root, 4 * (self.at - start) + (4 << 20))
                return Checked(self.at, list(self.names), self.storages, root)
            step = _STEPS.get(code)
            if step is None:
                raise Refused(f"it uses the pickle opcode {bytes([code])!r}, which PyTorch does not write")
            step(self)

    def take(self, count: int) -> bytes:
        piece = self.text[self.at : self.at + count]
        if len(piece) < count:
            raise Refused("it is cut off")
        self.at += count
        return piece

    def number(self, shape: str) -> Any:
        return struct.unpack(shape, self.take(struct.calcsize(shape)))[0]

    def line(self) -> str:
        end = self.text.find(b"\n", self.at, self.at + 500)
        if end < 0:
            raise Refused("it asks for a name without an end")
        return self.take(end + 1 - self.at)[:-1].decode("utf-8")

    def above_mark(self) -> List[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def top(self, *kinds: str) -> _Node:
        if not _of(self.stack[-1], *kinds):
            raise Refused("it fills or changes something that cannot be filled")
        return self.stack[-1]

    def push(self, item: Any) -> None:
        self.stack.append(item)

    # steps, one for each opcode

    def proto(self) -> None:
        if self.number("<B") > 2:
            raise Refused("its pickle protocol is not PyTorch's (2)")

    def mark(self) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def text_(self) -> None:
        self.push(self.take(self.number("<I")).decode("utf-8", "surrogatepass"))

    def short_bytes(self) -> None:
        self.push(self.take(self.number("<B")))  # a text of Python 2

    def long(self) -> None:
        self.push(int.from_bytes(self.take(self.number("<B")), "little", signed=True))

    def global_(self) -> None:
        module, name = self.line(), self.line()
        module = "builtins" if module == "__builtin__" else module  # its name in Python 2
        if not self.rules.admits(module, name):
            raise Refused(f"it asks for {module}.{name}, which a checkpoint has no need of")
        full = f"{module}.{name}"
        self.names[full] = None
        self.push(_Node("name", (), full))

    def put(self, shape: str) -> None:
        place = self.number(shape)
        if place > self.steps:
            raise Refused("it remembers things in places that are far apart")
        self.memo[place] = self.stack[-1]

    def get(self, shape: str) -> None:
        self.push(self.memo[self.number(shape)])

    def tuple_(self, count: Optional[int] = None) -> None:
        if count is None:
            items = self.above_mark()
        else:
            items = self.stack[-count:]
            if len(items) < count:
                raise Refused("its stack is empty")
            del self.stack[-count:]
        self.push(_Node("tuple", items))

    def append(self, many: bool) -> None:
        items = self.above_mark() if many else [self.stack.pop()]
        self.top("list").children.extend(items)

    def set_items(self, many: bool) -> None:
        items = self.above_mark() if many else [self.stack.pop(), self.stack.pop()][::-1]
        if len(items) % 2:
            raise Refused("it has a key without a value")
        if not all(_is_key(key) for key in items[::2]):
            raise Refused("it has a key that is neither text nor a number of usual size")
        self.top("dict").children.extend(items)

    def new(self) -> None:
        arguments, kind = self.stack.pop(), self.stack.pop()
        if not _of(kind, "name") or not _of(arguments, "tuple"):
            raise Refused("it makes something of what is no class")
        self.steps += _cost(arguments.children)
        self.push(_Node("object", [arguments], kind.value))

    def build(self) -> None:
        state = self.stack.pop()
        self.steps += _cost([state])
        self.top("object", "dict").children.append(state)
        if self.stack[-1].kind == "dict" and not _of(state, "dict"):
            raise Refused("it sets the attributes of a table to something that is no table")

    def persistent(self) -> None:
        item = self.stack.pop()
        storage = _storage_of(item)
        if storage is None or self.storages.setdefault(storage.key, storage) != storage:
            raise Refused("it refers to something outside that is no storage")
        if not self.rules.has(storage):
            raise Refused(f"its storage {storage.key[:40]} is missing, or has another size than it says")
        self.push(_Node("storage", (), storage))

    def reduce(self) -> None:
        arguments, made_by = self.stack.pop(), self.stack.pop()
        if not _of(made_by, "name") or not _of(arguments, "tuple"):
            raise Refused("it calls something that is no name")
        self.steps += _cost(arguments.children)
        make = _CALLS.get(made_by.value)
        made = _Node("object", [arguments], made_by.value) if make is None else make(arguments.children, self.rules)
        if made is _NO:
            raise Refused(f"it calls {made_by.value} with arguments that PyTorch does not write")
        self.push(made)


def _storage_of(item: Any) -> Optional[Storage]:
    if not _of(item, "tuple") or len(item.children) not in (5, 6):
        return None
    word, kind, key, location, numel, *view = item.children
    word, key, location = (part.decode("ascii") if isinstance(part, bytes) else part for part in (word, key, location))
    if word != "storage" or not _of(kind, "name") or any(part is not None for part in view):
        return None
    module, _, name = kind.value.rpartition(".")
    if module not in ("torch", "torch.storage") or name not in ITEM_SIZES or not isinstance(location, str):
        return None
    if not isinstance(key, str) or type(numel) is not int or numel < 0:
        return None
    return Storage(key, name, numel)


_NO = object()  # calls that are not admitted give it


def _tensor(arguments: List[Any], rules: Rules) -> Any:
    """A view of a storage that stays inside it."""
    if not 4 <= len(arguments) <= 7:
        return _NO
    storage, offset, sizes, strides, *rest = arguments
    if not _of(storage, "storage") or type(offset) is not int or offset < 0:
        return _NO
    if not _is_counts(sizes) or not _is_counts(strides) or len(sizes.children) != len(strides.children):
        return _NO
    flag, hooks, more = (*rest, *(None, None, None)[len(rest) :])
    if not _is_flag(flag) or not (hooks is None or _of(hooks, "dict")) or more is not None or len(sizes.children) > 64:
        return _NO
    numel, last = 1, offset
    for size, stride in zip(sizes.children, strides.children):
        numel *= size
        last += (size - 1) * stride
    item_size = ITEM_SIZES[storage.value.kind]
    if numel and last >= storage.value.numel or numel * item_size > max(rules.file_size, _LEAST_ROOM):
        raise Refused(f"it has a tensor that is larger than its storage {storage.value.key[:40]}")
    return _Node("tensor")


def _parameter(arguments: List[Any], _: Rules) -> Any:
    if len(arguments) != 3 or not _of(arguments[0], "tensor") or not _is_flag(arguments[1]):
        return _NO
    return _Node("tensor") if _of(arguments[2], "dict") else _NO


def _ordered(arguments: List[Any], _: Rules) -> Any:
    """An OrderedDict: empty, or of [key, value] pairs as Python 2 wrote it."""
    if not arguments:
        return _Node("dict")
    if len(arguments) != 1 or not _of(arguments[0], "list"):
        return _NO
    pairs = arguments[0].children
    fit = all(_of(pair, "list", "tuple") and len(pair.children) == 2 and _is_key(pair.children[0]) for pair in pairs)
    return _Node("dict", [item for pair in pairs for item in pair.children]) if fit else _NO


def _counter(arguments: List[Any], _: Rules) -> Any:
    if len(arguments) > 1 or not all(_of(argument, "dict") for argument in arguments):
        return _NO
    return _Node("dict", arguments[0].children if arguments else ())


def _default_dict(arguments: List[Any], _: Rules) -> Any:
    plain = all(argument is None or _of(argument, "name") for argument in arguments)
    return _Node("dict") if plain and len(arguments) < 2 else _NO


def _plain_dict(arguments: List[Any], _: Rules) -> Any:
    return _NO if arguments else _Node("dict")


def _set(arguments: List[Any], _: Rules) -> Any:
    plain = all(_of(item, "list") and not any(_of(child, "tensor") for child in item.children) for item in arguments)
    fit = plain and len(arguments) == 1 and all(map(_is_key, arguments[0].children))
    return _Node("object", arguments) if fit else _NO


def _numpy_type(arguments: List[Any], _: Rules) -> Any:
    named = bool(arguments) and isinstance(arguments[0], (str, bytes)) and len(arguments[0]) <= _LONGEST_TYPE
    return _Node("object", arguments, "numpy.dtype") if named else _NO


def _size(arguments: List[Any], _: Rules) -> Any:
    return _Node("object", arguments) if len(arguments) == 1 and _is_counts(arguments[0]) else _NO


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


def _step(name: str, *arguments: Any) -> Callable[[_Pass], None]:
    return lambda run: getattr(run, name)(*arguments)


def _value(value: Any) -> Callable[[_Pass], None]:
    return lambda run: run.push(value)


def _number(shape: str) -> Callable[[_Pass], None]:
    return lambda run: run.push(run.number(shape))


def _empty(kind: str) -> Callable[[_Pass], None]:
    return lambda run: run.push(_Node(kind))


_STEPS: Dict[int, Callable[[_Pass], None]] = {
    0x80: _step("proto"),
    ord("("): _step("mark"),
    ord("c"): _step("global_"),
    ord("\x81"): _step("new"),
    ord("R"): _step("reduce"),
    ord("b"): _step("build"),
    ord("Q"): _step("persistent"),
    ord("a"): _step("append", False),
    ord("e"): _step("append", True),
    ord("s"): _step("set_items", False),
    ord("u"): _step("set_items", True),
    ord("t"): _step("tuple_"),
    ord("\x85"): _step("tuple_", 1),
    ord("\x86"): _step("tuple_", 2),
    ord("\x87"): _step("tuple_", 3),
    ord("q"): _step("put", "<B"),
    ord("r"): _step("put", "<I"),
    ord("h"): _step("get", "<B"),
    ord("j"): _step("get", "<I"),
    ord("X"): _step("text_"),
    ord("U"): _step("short_bytes"),
    ord("\x8a"): _step("long"),
    ord("J"): _number("<i"),
    ord("K"): _number("<B"),
    ord("M"): _number("<H"),
    ord("G"): _number(">d"),
    ord("N"): _value(None),
    ord("\x88"): _value(True),
    ord("\x89"): _value(False),
    ord(")"): _empty("tuple"),
    ord("]"): _empty("list"),
    ord("}"): _empty("dict"),
}


def _width(item: Any) -> int:
    if isinstance(item, (str, bytes)):
        return len(item) + 4
    return item.bit_length() // 3 + 4 if isinstance(item, int) else 24


def _measure(root: Any, most: int) -> None:
    """Refuse what is nested too deep, contains itself, or would be longer than `most` characters if it were printed."""
    widths: Dict[int, int] = {}  # of nodes that are done; the others on the way are in `path`
    entered = {id(root)}
    path = [[root, iter(root.children), 8]] if isinstance(root, _Node) else []
    while path:
        node, left, _ = path[-1]
        for child in left:
            if not isinstance(child, _Node):
                path[-1][2] += _width(child)
            elif id(child) in widths:
                path[-1][2] += widths[id(child)]
            elif id(child) in entered or len(path) == _MOST_DEPTH:
                raise Refused("it contains itself, or is nested too deep")
            else:
                entered.add(id(child))
                path.append([child, iter(child.children), 8])
                break
            if path[-1][2] > most:
                raise Refused("it would be far longer than its file if it were written out")
        else:
            widths[id(node)] = path.pop()[2]
            if path:
                path[-1][2] += widths[id(node)]


def check(text: bytes, rules: Rules, start: int = 0) -> Checked:
    """Go through a pickle once.

    Args:
        text: what the loader will get.
        rules: what it may do.
        start: where it begins.

    Raises:
        Refused: if a loader must not get it; it says why.
    """
    try:
        return _Pass(text, start, rules).run()
    except (IndexError, KeyError, UnicodeDecodeError, struct.error) as error:
        raise Refused(f"it is no whole pickle ({type(error).__name__})") from None
