"""Files that would do harm if a reader let them: pieces, and a Hypothesis strategy that composes them."""

from __future__ import annotations

import io
import functools
import os
import struct
import tarfile
import warnings
import zipfile
from pathlib import Path
from typing import Callable

import torch
from hypothesis import strategies as st

from modprompt.errors import UserError


def text(word: str) -> bytes:
    """A text, as a pickle of protocol 2 has it."""
    raw = word.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def name(module: str, attribute: str) -> bytes:
    """A name that the loader looks up."""
    return f"c{module}\n{attribute}\n".encode()


def call(module: str, attribute: str, *arguments: bytes) -> bytes:
    """A call of it."""
    return name(module, attribute) + b"(" + b"".join(arguments) + b"tR"


def storage(key: str = "0", numel: int = 4, kind: str = "FloatStorage") -> bytes:
    """A storage of the file."""
    size = b"\x8a\x08" + struct.pack("<q", numel)
    return b"(" + text("storage") + name("torch", kind) + text(key) + text("cpu") + size + b"tQ"


def tensor(numel: int = 4, offset: int = 0, size: int = 4, stride: int = 1, key: str = "0") -> bytes:
    """A tensor of one dimension."""
    numbers = [b"\x8a\x08" + struct.pack("<q", number) for number in (offset, size, stride)]
    view = [numbers[0], b"(" + numbers[1] + b"t", b"(" + numbers[2] + b"t"]
    return call(
        "torch._utils", "_rebuild_tensor_v2", storage(key, numel), *view, b"\x89", b"ccollections\nOrderedDict\n)R"
    )


def table(*items: bytes) -> bytes:
    """A dict of keys and values."""
    return b"}(" + b"".join(items) + b"u"


def archive(body: bytes, *, elements: bytes = bytes(16), jit: bool = False, folder: str = "a", more=()) -> bytes:
    """A zip archive as torch.save writes it, around a pickle."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr(f"{folder}/data.pkl", b"\x80\x02" + body + b".")
        file.writestr(f"{folder}/data/0", elements)
        file.writestr(f"{folder}/version", "3\n")
        if jit:
            file.writestr(f"{folder}/constants.pkl", b"\x80\x02).")
        for member, content in more:
            file.writestr(member, content)
    return stream.getvalue()


def old_file(body: bytes) -> bytes:
    """A file as PyTorch wrote it before 1.6, around a pickle."""
    stream = io.BytesIO()
    torch.save({"epoch": 1}, stream, _use_new_zipfile_serialization=False)
    raw = stream.getvalue()
    start = raw.index(b"\x80\x02}q\x00X\x05\x00\x00\x00epoch")
    end = raw.index(b".", start) + 1
    return raw[:start] + b"\x80\x02" + body + b"." + raw[end:]


def calls(target: Path) -> list[bytes]:
    """Calls that would write `target`, and ways to have one later."""
    word = text(str(target))
    return [
        call("os", "mkdir", word),
        call("posix", "mkdir", word),
        call("os", "system", text(f"touch {target}")),
        call("subprocess", "call", b"](" + text("touch") + word + b"e"),
        call("builtins", "exec", text(f"open({str(target)!r}, 'w')")),
        call("builtins", "open", word, text("w")),
        call("io", "open", word, text("w")),
        call("torch", "save", b"K\x01", word),
        call("torch.utils.serialization", "exec", word),
        call("torch._utils", "_import_dotted_name", text("antigravity")),
        call("torch.hub", "download_url_to_file", text("file:///etc/hostname"), word),
        call("torch.storage", "_load_from_bytes", text("x")),
        call("numpy", "load", word),
        call("numpy.lib.npyio", "save", word, b"K\x01"),
        call("pathlib", "Path.mkdir", call("pathlib", "Path", word)),
        call("dassl.utils", "mkdir_if_missing", word),
        call("dassl.utils.tools", "write_json", b"}", word),
        call("modprompt.storage.text", "write_whole", word, text("x")),
        call("torch.optim.optimizer", "warnings.os.mkdir", word),
        call("torch.optim", "torch.os.mkdir", word),
        name("builtins", "getattr"),
        name("torch.serialization", "_get_layout") + b"}" + text("x") + b"K\x01sb",
        # BUILD on what was admitted: an attribute of a function, the state of a class
        name("torch._utils", "_rebuild_tensor_v2") + b"}" + text("__defaults__") + b")sb",
        name("collections", "OrderedDict") + b"N}" + text("__init__") + b"K\x01s\x86b",
        b"(" + text("module") + name("torch.nn", "Linear") + word + text("class X: pass") + b"tQ",
    ]


def _many_lists(number: int) -> bytes:
    """A few lists that are printed as 2^number."""
    lists = [b"](K\x01eq\x00", *(b"](h%c" % i + b"h%c" % i + b"eq%c" % (i + 1) for i in range(number))]
    return table(text("state_dict"), b"}", text("made_with"), b"](" + b"".join(lists) + b"e")


BOMBS = (
    b"]q\x01h\x01a",  # contains itself
    b"K\x01r\xff\xff\xff\xff",  # a memo as large as memory
    call("builtins", "bytearray", b"\x8a\x06" + b"\xff" * 5 + b"\x00"),
    call("_codecs", "encode", text("a" * 100_000), text("punycode")),
    call("builtins", "set", b"](K\x01K\x01\x86e"),
    b"\x8b\x00\x00\x00\x7f",  # a number of 2 GB
    b"I" + b"9" * 100_000 + b"\n",  # one in decimal
    tensor(size=1 << 40, stride=0),
    tensor(size=5),
    tensor(offset=3),
    tensor(offset=(1 << 62), size=1),
    tensor(numel=1 << 50),
    tensor(numel=8),
    tensor(key="../data.pkl"),
    tensor(key="1"),
    call("torch", "Size", b"](K\x01e"),
    call("torch._utils", "_rebuild_parameter", b"K\x01", b"\x88", b"N"),
    call("torch._utils", "_rebuild_sparse_tensor", b"K\x01", b"\x88"),
    call("torch._utils", "_rebuild_wrapper_subclass", b"N", b"N"),
    call("numpy.core.multiarray", "scalar", call("numpy", "dtype", text("O8"), b"K\x00", b"K\x01"), text("x")),
    call("numpy.core.multiarray", "_reconstruct", name("numpy", "ndarray"), b"(K\x00t", text("b")),
    b"0" * 10,
    b"R",
)


class Writing(torch.nn.Module):
    """A TorchScript module whose code runs when it is loaded, and writes its file."""

    def __init__(self, path: str):
        super().__init__()
        self.path = path
        self.weight = torch.ones(2)
        self.made = torch.ones(2)

    def forward(self, x):
        return x + self.weight

    @torch.jit.export
    def __getstate__(self):
        return self.path, self.weight, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, torch.Tensor, bool]) -> None:
        self.path = state[0]
        self.weight = state[1]
        self.training = state[2]
        self.made = torch.from_file(self.path, True, 4)  # maps a file that all may see: makes it


@functools.lru_cache(maxsize=1)  # it is compiled for a second
def writing_archive(target: Path) -> bytes:
    """A TorchScript archive that makes `target` when torch.jit.load loads it."""
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(Writing(str(target))), stream)
    return stream.getvalue()


def odd_archives(target: Path, body: bytes) -> list[bytes]:
    """Two readings of one zip, names that lead elsewhere, and the like; `body` in the reading that is hidden."""
    good, evil = archive(table(text("a"), tensor())), archive(body)
    script = writing_archive(target)
    return [
        good + evil,
        evil + good,
        script + b"PK\5\6" + bytes(18),
        good + script,
        script + good,
        script + b"\0",
        good[:-22] + b"PK\5\6" + bytes(18),
        good + b"PK\5\6" + bytes(18),
        archive(body, more=[("A/DATA.PKL", b"\x80\x02}.")]),
        archive(table(text("a"), tensor()), more=[("a/DATA.pkl", b"\x80\x02" + body + b".")]),
        archive(table(text("a"), tensor()), more=[(f"../{target.name}", b"x")]),
        archive(table(text("a"), tensor()), more=[(str(target), b"x")]),
        archive(table(text("a"), tensor()), more=[("b/data.pkl", b"\x80\x02" + body + b".")]),
        archive(body, jit=True),
        script,
    ]


def tar_file(member_kind: bytes) -> bytes:
    """A tar as PyTorch read before 0.1.10, with a member that is a pipe or a device."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as file:
        for member in ("storages", "tensors", "pickle"):
            info = tarfile.TarInfo(member)
            info.type = member_kind
            file.addfile(info)
    return stream.getvalue()


# ---------------------------------------------------------------------- composed

_WRAPPERS: tuple[Callable[[bytes], bytes], ...] = (archive, old_file, lambda body: archive(body, jit=True))
_LONG = st.integers(1, 100_000)
_OPERATIONS = [bytes([number]) for number in b"(.012NQRSabdelstu])}\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94"]


def bombs() -> st.SearchStrategy[bytes]:
    """Pickles that would take all time or memory, or lie about their tensors."""
    return st.one_of(
        st.sampled_from(BOMBS),
        st.integers(40, 80).map(lambda n: b"}K\x01" + b"q\x01h\x01\x86" * n + b"K\x00s"),  # a key hashed in 2^n steps
        st.integers(40, 80).map(_many_lists),
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


def pipe(path: Path) -> Path:
    """A pipe that nobody writes into."""
    os.mkfifo(path)
    return path


def attempt(read, path):
    """What a reader makes of a file, and without it the one line that it says."""
    try:
        return read(path), ""
    except UserError as error:
        return None, str(error)
