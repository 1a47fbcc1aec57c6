"""Pickles read by one loop over their opcodes, which makes the values itself: nothing is imported, nothing is run.

A name in a pickle stands for what the reader is given for it, a function of ours or an inert object; every other name
is refused. Python's own loader is never used: nine bytes make it allocate 2 GB. What keeps a program busy forever is
refused too: keys that take forever to hash, large things copied again and again, a few lists that print as a thousand
million.
"""

import itertools
import struct
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

from modprompt.io.safe_open import Refused

MOST_BYTES = 64 << 20  # of a pickle; storages are not in it
_MOST_DEPTH = 100
_MOST_PRINTED = 4 << 20  # characters of any pickle's content, besides four for each of its bytes
_REPEATS = 1 << 60  # whole numbers from here on can be chosen so that all of them have one hash
_LONGEST_NAME = 500  # characters
_STOP = 0x2E
_KEYS = (str, float, bytes, type(None))


class Inert:
    """Stands for an object of a foreign class: the state that the pickle gives it, and none of its code."""

    def __init__(self, name: str = "", *_: Any):
        self.name = name
        self.state: Any = None

    def take(self, state: Any) -> None:
        """Accept a state, as `__setstate__` would."""
        self.state = state


class Name:
    """A name that a pickle asks for.

    Args:
        full: module and name.
        make: is called where the pickle calls it; raises TypeError or ValueError on other arguments than it accepts.
    """

    __slots__ = ("full", "make")

    def __init__(self, full: str, make: Callable[..., Any] | None = None):
        self.full, self.make = full, make


def is_key(value: Any, others: tuple[type, ...] = ()) -> bool:
    """Whether a value may be a key: what hashes fast, and not as other keys on purpose do.

    Args:
        value: of a pickle.
        others: classes that may be keys too; they must hash by identity.
    """
    return abs(value) < _REPEATS if isinstance(value, int) else isinstance(value, _KEYS + others)


class PickleReader:
    """Reads one pickle.

    Args:
        text: where it is.
        stands_for: gives what a name (module.name) stands for: a Name, or another value; refuses all others.
        storage: gives what a reference to something outside stands for; without it there may be none.
        start: where it begins in the text.
        keys: classes of keys besides texts and numbers; they must hash by identity.
        most_steps: how many values and copies it may make.
        most_bytes: how long it may be.
    """

    def __init__(
        self,
        text: bytes,
        stands_for: Callable[[str], Any],
        storage: Callable[[Any], Any] | None = None,
        start: int = 0,
        keys: tuple[type, ...] = (),
        most_steps: int = 2_000_000,
        most_bytes: int = MOST_BYTES,
    ):
        self.text, self.at, self.keys = text, start, keys
        self.stands_for, self.storage = stands_for, storage
        self.most_steps, self.most_bytes = most_steps, most_bytes
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.names: dict[str, Any] = {}  # those asked for
        self.steps = 0

    def read(self) -> Any:
        """What the pickle holds; `at` is where it ends.

        Raises:
            Refused: if it is not a whole pickle, or not one that may be read; the message says why.
        """
        text, end = self.text, self.at + self.most_bytes
        try:
            while True:
                code = text[self.at]
                self.at += 1
                if code == _STOP:
                    return self.stack.pop()
                if code not in _STEPS:
                    raise Refused(f"it uses the pickle opcode {bytes([code])!r}, which PyTorch does not write")
                _STEPS[code](self)
                self.steps += 1
                if self.steps > self.most_steps or self.at > end:
                    raise Refused("it holds more values than any checkpoint")
        except (IndexError, KeyError, UnicodeDecodeError, struct.error) as error:
            raise Refused(f"it is no whole pickle ({type(error).__name__})") from None

    # arguments of opcodes

    def take(self, count: int) -> bytes:
        piece = self.text[self.at : self.at + count]
        if len(piece) < count:
            raise Refused("it is cut off")
        self.at += count
        return piece

    def byte(self) -> int:
        value = self.text[self.at]
        self.at += 1
        return value

    def number(self, shape: struct.Struct) -> Any:
        (value,) = shape.unpack_from(self.text, self.at)
        self.at += shape.size
        return value

    def line(self) -> str:
        end = self.text.find(b"\n", self.at, self.at + _LONGEST_NAME)
        if end < 0:
            raise Refused("it asks for a name without an end")
        return self.take(end + 1 - self.at)[:-1].decode("utf-8")

    # what opcodes do

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def get(self, place: int) -> None:
        self.stack.append(self.memo[place])

    def put(self, place: int) -> None:
        self.memo[place] = self.stack[-1]

    def mark(self) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def above_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def text_of(self, size: int, errors: str = "surrogatepass") -> None:
        self.push(self.take(size).decode("utf-8", errors))

    def name(self, module: str, name: str) -> None:
        full = f"{'builtins' if module == '__builtin__' else module}.{name}"  # its name in Python 2
        if full not in self.names:
            if "." in name:
                raise Refused(f"it asks for {full}, a part of something else")
            self.names[full] = self.stands_for(full)
        self.push(self.names[full])

    def name_on_stack(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(name, str) or not isinstance(module, str) or len(name) + len(module) > _LONGEST_NAME:
            raise Refused("it asks for something that is not a name")
        self.name(module, name)

    def call(self) -> None:
        arguments, name = self.stack.pop(), self.stack.pop()
        if type(name) is not Name or type(arguments) is not tuple:
            raise Refused("it calls something that is no name")
        self.count_copies(arguments)
        try:
            self.push(name.make(*arguments))  # type: ignore[misc]  # None raises TypeError
        except Refused:
            raise
        except (TypeError, ValueError, OverflowError, RuntimeError):
            raise Refused(f"it calls {name.full} with arguments that PyTorch does not write") from None

    def build(self) -> None:
        state, made = self.stack.pop(), self.stack[-1]
        self.count_copies((state,))
        if isinstance(made, Inert):
            made.take(state)
        elif type(made) is OrderedDict and isinstance(state, dict):  # the versions of a state_dict's modules
            made.__dict__.update({key: value for key, value in state.items() if key == "_metadata"})
        else:
            raise Refused("it fills or changes something that cannot be changed")

    def outside(self) -> None:
        if self.storage is None:
            raise Refused("it refers to something outside of it")
        self.push(self.storage(self.stack.pop()))

    def tuple_of(self, count: int) -> None:
        if len(self.stack) < count:
            raise IndexError
        items = tuple(self.stack[-count:])
        del self.stack[-count:]
        self.push(items)

    def append(self, items: list[Any]) -> None:
        filled = self.stack[-1]
        if type(filled) is not list:
            raise Refused("it fills or changes something that cannot be filled")
        filled.extend(items)

    def set_items(self, items: list[Any]) -> None:
        filled = self.stack[-1]
        if not isinstance(filled, dict) or len(items) % 2:
            raise Refused("it fills something that is no table, or has a key without a value")
        for key, value in zip(items[::2], items[1::2]):
            if not is_key(key, self.keys):
                raise Refused("it has a key that is neither text nor a number of usual size")
            filled[key] = value

    def count_copies(self, items: tuple[Any, ...]) -> None:
        """Count what it takes to copy these values: a step for each thing in them, or for some bytes."""
        for item in items:
            parts = isinstance(item, (list, tuple, dict, set))
            self.steps += 1 + (len(item) if parts else _width(item) // 16)


def _width(item: Any) -> int:
    """About how many characters a value has that holds no others."""
    if isinstance(item, (str, bytes)):
        return len(item) + 4
    return item.bit_length() // 3 + 4 if isinstance(item, int) else 24


def _parts(value: Any) -> Iterator[Any] | None:
    """What is in a value; None if it holds no others."""
    if isinstance(value, dict):
        return itertools.chain(value, value.values(), getattr(value, "__dict__", {}).values())
    if isinstance(value, (list, tuple, set)):
        return iter(value)
    return iter((value.state,)) if isinstance(value, Inert) else None


def require_small(root: Any, size: int) -> None:
    """Check what a pickle of this many bytes held.

    Raises:
        Refused: if it is nested too deep, contains itself, or would be far longer than the pickle if it were printed.
    """
    _measure(root, 4 * size + _MOST_PRINTED, 0, {})


def _measure(value: Any, most: int, level: int, done: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """(width in characters, depth) of a value this far down; `done` has those of values that were gone through."""
    parts = _parts(value)
    if parts is None:
        return _width(value), 0
    if id(value) in done:
        return done[id(value)]
    width = depth = 0
    for part in parts if level < _MOST_DEPTH else ():
        its_width, its_depth = _measure(part, most, level + 1, done)
        width, depth = width + its_width, max(depth, its_depth)
        if width > most:
            raise Refused("it would be far longer than its file if it were written out")
    if level + depth >= _MOST_DEPTH:
        raise Refused("it contains itself, or is nested too deep")
    done[id(value)] = width + 8, depth + 1
    return done[id(value)]


_SHORT, _LONG, _SIGNED, _FLOAT = map(struct.Struct, ("<H", "<I", "<i", ">d"))


_STEPS: dict[int, Callable[[PickleReader], Any]] = {
    0x80: lambda run: run.take(1),  # the protocol
    0x95: lambda run: run.take(8),  # the length of a frame
    ord("("): PickleReader.mark,
    ord("0"): lambda run: run.stack.pop(),
    ord("c"): lambda run: run.name(run.line(), run.line()),
    0x93: PickleReader.name_on_stack,
    0x81: PickleReader.call,  # makes an object
    ord("R"): PickleReader.call,
    ord("b"): PickleReader.build,
    ord("Q"): PickleReader.outside,
    ord("a"): lambda run: run.append([run.stack.pop()]),
    ord("e"): lambda run: run.append(run.above_mark()),
    ord("s"): lambda run: run.set_items([run.stack.pop(), run.stack.pop()][::-1]),
    ord("u"): lambda run: run.set_items(run.above_mark()),
    ord("t"): lambda run: run.push(tuple(run.above_mark())),
    0x85: lambda run: run.tuple_of(1),
    0x86: lambda run: run.tuple_of(2),
    0x87: lambda run: run.tuple_of(3),
    ord("q"): lambda run: run.put(run.byte()),
    ord("r"): lambda run: run.put(run.number(_LONG)),
    0x94: lambda run: run.put(len(run.memo)),
    ord("h"): lambda run: run.get(run.byte()),
    ord("j"): lambda run: run.get(run.number(_LONG)),
    ord("X"): lambda run: run.text_of(run.number(_LONG)),
    0x8C: lambda run: run.text_of(run.byte()),
    ord("U"): lambda run: run.text_of(run.byte(), "strict"),  # a text of Python 2
    0x8A: lambda run: run.push(int.from_bytes(run.take(run.byte()), "little", signed=True)),
    ord("J"): lambda run: run.push(run.number(_SIGNED)),
    ord("K"): lambda run: run.push(run.byte()),
    ord("M"): lambda run: run.push(run.number(_SHORT)),
    ord("G"): lambda run: run.push(run.number(_FLOAT)),
    ord("N"): lambda run: run.push(None),
    0x88: lambda run: run.push(True),
    0x89: lambda run: run.push(False),
    ord(")"): lambda run: run.push(()),
    ord("]"): lambda run: run.push([]),
    ord("}"): lambda run: run.push({}),
}
