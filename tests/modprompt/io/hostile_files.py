"""Strategies of Hypothesis that compose hostile files of the pieces in hostile.py."""

from __future__ import annotations

import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import strategies as st

from tests.modprompt.io.hostile import (
    BOMBS,
    archive,
    call,
    calls,
    many_lists,
    name,
    odd_archives,
    old_file,
    storage,
    table,
    tar_file,
    tensor,
    text,
)

_WRAPPERS: tuple[Callable[[bytes], bytes], ...] = (archive, old_file, lambda body: archive(body, jit=True))
_LONG = st.integers(1, 100_000)
_OPERATIONS = [bytes([number]) for number in b"(.012NQRSabdelstu])}\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94"]


def bombs() -> st.SearchStrategy[bytes]:
    """Pickles that would take all time or memory, or lie about their tensors."""
    return st.one_of(
        st.sampled_from(BOMBS),
        st.integers(40, 80).map(lambda n: b"}K\x01" + b"q\x01h\x01\x86" * n + b"K\x00s"),  # a key hashed in 2^n steps
        st.integers(40, 80).map(many_lists),
        _LONG.map(lambda n: b"]" * n + b"a" * (n - 1)),
        _LONG.map(lambda n: b"(" * n),
        st.builds(tensor, *(st.one_of(st.integers(-9, 9), st.integers(-(1 << 62), 1 << 62)) for _ in range(4))),
    )


def streams(target: Path) -> st.SearchStrategy[bytes]:
    """Operations in any order, among them calls, names that are admitted, tensors and texts."""
    names = ("collections", "OrderedDict"), ("torch", "float32"), ("torch.optim.sgd", "SGD"), ("builtins", "set")
    parts = [*_OPERATIONS, *(name(*one) for one in names), tensor(), storage(), text("state_dict"), text("a")]
    short = st.binary(min_size=1, max_size=1)
    memo = short.flatmap(lambda number: st.sampled_from([b"q" + number, b"h" + number, b"K" + number]))
    one = st.one_of(st.sampled_from(parts), memo, short, st.sampled_from(calls(target)))
    return st.lists(one, max_size=40).map(b"".join)


def structures(target: Path) -> st.SearchStrategy[bytes]:
    """What a checkpoint has, in odd orders and shapes, at times with a call in it."""
    numbers = st.integers(-(1 << 31), (1 << 31) - 1).map(lambda number: b"J" + struct.pack("<i", number))
    words = st.text(max_size=4).map(text)
    optimiser = table(text("lr"), b"K\x01").join((call("torch.optim.sgd", "SGD"), b"b"))
    leaves = st.one_of(
        st.sampled_from([tensor(), tensor(size=2, offset=1), b"N", b"\x88", optimiser, name("torch", "float32")]),
        numbers,
        words,
        st.sampled_from(calls(target)),
    )

    def around(inner: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
        some = st.lists(inner, max_size=4)
        tables = st.lists(st.tuples(st.one_of(words, numbers), inner), max_size=4)
        return st.one_of(
            some.map(lambda parts: b"](" + b"".join(parts) + b"e"),
            some.map(lambda parts: b"(" + b"".join(parts) + b"t"),
            tables.map(lambda pairs: table(*(part for pair in pairs for part in pair))),
            inner.map(lambda one: call("collections", "OrderedDict", b"](" + text("a") + one + b"\x86e")),
        )

    return st.recursive(leaves, around, max_leaves=12)


def placed(body: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """A pickle by itself or somewhere in a table, in a file of today, of before PyTorch 1.6, or of TorchScript."""
    first = (text("a"), tensor())
    places: list[Callable[[bytes], bytes]] = [
        bytes,
        lambda inner: table(text("state_dict"), inner),
        lambda inner: table(text("state_dict"), table(*first), text("x"), inner),
        lambda inner: table(text("state_dict"), table(*first, text("b"), inner)),
    ]
    return st.builds(
        lambda wrap, place, inner: wrap(place(inner)), st.sampled_from(_WRAPPERS), st.sampled_from(places), body
    )


def damaged(raw: bytes) -> st.SearchStrategy[bytes]:
    """A file with some bytes changed."""
    changes = st.lists(st.tuples(st.integers(0, len(raw) - 1), st.integers(0, 255)), min_size=1, max_size=30)

    def changed(some: list[tuple[int, int]]) -> bytes:
        content = bytearray(raw)
        for at, value in some:
            content[at] = value
        return bytes(content)

    return changes.map(changed)


def kinds(target: Path) -> dict[str, st.SearchStrategy[bytes]]:
    """Hostile files by kind; if what is in one of them is run, it makes `target`."""
    called, bomb = st.sampled_from(calls(target)), bombs()
    tars = st.sampled_from((tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE)).map(tar_file)
    return {
        "calls": placed(called),
        "bombs": placed(bomb),
        "streams": placed(streams(target)),
        "structures": placed(structures(target)),
        "odd archives": st.one_of(called, bomb).flatmap(lambda body: st.sampled_from(odd_archives(target, body))),
        "damaged archives": damaged(archive(table(text("a"), tensor()))),
        "damaged old files": damaged(old_file(table(text("a"), tensor()))),
        "others": st.one_of(tars, st.binary(max_size=2000)),
    }
