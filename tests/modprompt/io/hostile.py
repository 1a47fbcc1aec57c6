"""Files that would do harm if a reader let them, in pieces; hostile_files.py composes them."""

from __future__ import annotations

import functools
import io
import os
import struct
import tarfile
import warnings
import zipfile
from pathlib import Path

import torch

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
        call("modprompt.io.text", "write_whole", word, text("x")),
        call("torch.optim.optimizer", "warnings.os.mkdir", word),
        call("torch.optim", "torch.os.mkdir", word),
        name("builtins", "getattr"),
        name("torch.serialization", "_get_layout") + b"}" + text("x") + b"K\x01sb",
        # BUILD on what was admitted: an attribute of a function, the state of a class
        name("torch._utils", "_rebuild_tensor_v2") + b"}" + text("__defaults__") + b")sb",
        name("collections", "OrderedDict") + b"N}" + text("__init__") + b"K\x01s\x86b",
        b"(" + text("module") + name("torch.nn", "Linear") + word + text("class X: pass") + b"tQ",
    ]


def many_lists(number: int) -> bytes:
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
