"""One pass over the opcodes of a pickle, before any loader gets it: it makes nothing, and can only refuse.

No loader stops a pickle whose keys take for ever to hash, whose few lists print as a thousand million, or whose tensors
reach beyond their storage. The pass follows the pickle's stack with stand-ins and refuses those; it also refuses every
name that is not admitted, and opcodes that PyTorch does not write. It decides nothing else.
"""

import struct
from typing import Any, Callable, Dict, List, NamedTuple, Optional

from modprompt.storage.opening import Refused
from modprompt.storage.pickle_calls import Rules, called
from modprompt.storage.pickle_values import Node, Storage, cost, is_a, is_key, measure, storage_of

MOST_BYTES = 64 << 20  # of a pickle; storages are not in it
_MOST_STEPS = 2_000_000


class Checked(NamedTuple):
    """A pickle that was not refused: where it ends, the names it asks for, its storages, and what it is if plain."""

    end: int
    names: List[str]
    storages: Dict[str, Storage]
    root: Any


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
                measure(root, 4 * (self.at - start) + (4 << 20))
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

    def top(self, *kinds: str) -> Node:
        if not is_a(self.stack[-1], *kinds):
            raise Refused("it fills or changes something that cannot be filled")
        node: Node = self.stack[-1]
        return node

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
        self.push(Node("name", (), full))

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
        self.push(Node("tuple", items))

    def append(self, many: bool) -> None:
        items = self.above_mark() if many else [self.stack.pop()]
        self.top("list").children.extend(items)

    def set_items(self, many: bool) -> None:
        items = self.above_mark() if many else [self.stack.pop(), self.stack.pop()][::-1]
        if len(items) % 2:
            raise Refused("it has a key without a value")
        if not all(is_key(key) for key in items[::2]):
            raise Refused("it has a key that is neither text nor a number of usual size")
        self.top("dict").children.extend(items)

    def new(self) -> None:
        arguments, kind = self.stack.pop(), self.stack.pop()
        if not is_a(kind, "name") or not is_a(arguments, "tuple"):
            raise Refused("it makes something of what is no class")
        self.steps += cost(arguments.children)
        self.push(Node("object", [arguments], kind.value))

    def build(self) -> None:
        state = self.stack.pop()
        self.steps += cost([state])
        self.top("object", "dict").children.append(state)
        if self.stack[-1].kind == "dict" and not is_a(state, "dict"):
            raise Refused("it sets the attributes of a table to something that is no table")

    def persistent(self) -> None:
        item = self.stack.pop()
        storage = storage_of(item)
        if storage is None or self.storages.setdefault(storage.key, storage) != storage:
            raise Refused("it refers to something outside that is no storage")
        if not self.rules.has(storage):
            raise Refused(f"its storage {storage.key[:40]} is missing, or has another size than it says")
        self.push(Node("storage", (), storage))

    def reduce(self) -> None:
        arguments, made_by = self.stack.pop(), self.stack.pop()
        if not is_a(made_by, "name") or not is_a(arguments, "tuple"):
            raise Refused("it calls something that is no name")
        self.steps += cost(arguments.children)
        self.push(called(made_by.value, arguments, self.rules))


def _step(name: str, *arguments: Any) -> Callable[[_Pass], None]:
    return lambda run: getattr(run, name)(*arguments)


def _value(value: Any) -> Callable[[_Pass], None]:
    return lambda run: run.push(value)


def _number(shape: str) -> Callable[[_Pass], None]:
    return lambda run: run.push(run.number(shape))


def _empty(kind: str) -> Callable[[_Pass], None]:
    return lambda run: run.push(Node(kind))


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
