"""Zip archives of PyTorch and numpy, read strictly: every byte of a member is checked, and nothing is ambiguous.

`zipfile` reads the directory. An archive must be its members without gaps, each with the name and kind that the
directory states, then the directory and its end: so no member overlaps another, and nothing hides between them.
"""

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from modprompt.io.paths import is_inside
from modprompt.io.safe_open import Bytes, Refused

_LOCAL = struct.Struct("<4s5H3I2H")  # the header of a member
_END_SIZE = 22
_STREAMED, _UTF8, _LEVEL = 0x0008, 0x0800, 0x0006  # flags: sizes follow the data; UTF-8 names; deflate's level
_BEHIND = (0, 16, 24)  # bytes after a streamed member: its CRC and sizes once more
_MOST_DIRECTORY = 64 << 20  # bytes
_BLOCK = 256 << 10
_ALONE = 4 << 20  # bytes that one thread checks faster than several
_THREADS = min(4, os.cpu_count() or 1)


class Member(NamedTuple):
    """A member of an archive: where its bytes are, and their sizes and checksum."""

    name: str
    start: int
    stored_size: int
    size: int
    crc: int
    deflated: bool


class _Stream(io.RawIOBase):
    """Bytes as a file from which zipfile reads a directory, none larger than `_MOST_DIRECTORY`."""

    def __init__(self, content: Bytes):
        self._content, self._at = content, 0

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._content.size)[whence]
        if self._at < 0:
            raise OSError("it is cut off")
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        left = max(self._content.size - self._at, 0)
        count = left if size < 0 else min(size, left)
        if count > _MOST_DIRECTORY:
            raise Refused("its directory is too large")
        self._at += count
        return self._content.read(self._at - count, count)


def is_archive(content: Bytes) -> bool:
    """Whether a file is a zip archive by its first bytes, as PyTorch decides it."""
    return content.size >= 4 and content.read(0, 4) == b"PK\3\4"


def read_members(content: Bytes) -> dict[str, Member]:
    """The members of an archive by name, in their order in it.

    Raises:
        Refused: if its parts do not agree with each other, or it has members that no archive of ours or PyTorch's has.
    """
    end = content.read(content.size - _END_SIZE, _END_SIZE)
    if end[:4] != b"PK\5\6" or end[-2:] != b"\0\0":
        raise Refused("it does not end as an archive does: it is cut off, or something follows its end")
    try:
        directory = zipfile.ZipFile(_Stream(content))
        entries = sorted(directory.infolist(), key=lambda entry: entry.header_offset)
        return _members(content, entries, directory.start_dir)
    except Refused:
        raise
    except Exception as error:  # zipfile raises many kinds
        raise Refused(f"it is cut off or damaged ({error})") from None


def _members(content: Bytes, entries: list[zipfile.ZipInfo], end: int) -> dict[str, Member]:
    members: dict[str, Member] = {}
    seen, at = set(), 0
    for entry, following in zip(entries, [*(entry.header_offset for entry in entries[1:]), end]):
        member = _member(content, entry, at)
        if member.name.lower() in seen:
            raise Refused(f"it has two members {member.name}")
        seen.add(member.name.lower())
        members[member.name] = member
        behind = following - member.start - member.stored_size
        if behind not in (_BEHIND if entry.flag_bits & _STREAMED else (0,)):
            raise Refused(f"its member {member.name} has another size in the directory")
        at = following
    if at != end:
        raise Refused("it has bytes that belong to no member")
    return members


def _member(content: Bytes, entry: zipfile.ZipInfo, at: int) -> Member:
    """A member whose header must lie at `at`."""
    name = entry.orig_filename
    if not is_inside(name) or "\\" in name or any(part in ("", ".") for part in name.split("/")):
        raise Refused(f"its member {name[:80]!r} has a name that leads elsewhere")
    mark, _, flags, method, *_, name_size, extra_size = _LOCAL.unpack(content.read(at, _LOCAL.size))
    if entry.header_offset != at or mark != b"PK\3\4":
        raise Refused(f"its member {name} is not where the directory says")
    written = name.encode("utf-8" if flags & _UTF8 else "ascii")
    agree = (flags, method) == (entry.flag_bits, entry.compress_type)
    if not agree or content.read(at + _LOCAL.size, name_size) != written:
        raise Refused(f"its member {name} has another name or kind in the directory")
    deflated = method == zipfile.ZIP_DEFLATED
    if flags & ~(_STREAMED | _UTF8 | _LEVEL) or not (deflated or method == zipfile.ZIP_STORED):
        raise Refused(f"its member {name} is encrypted or packed in a way that is not read")
    if not deflated and entry.file_size != entry.compress_size:
        raise Refused(f"its member {name} has two sizes")
    start = at + _LOCAL.size + name_size + extra_size
    return Member(name, start, entry.compress_size, entry.file_size, entry.CRC, deflated)


def verify(content: Bytes, members: Iterable[Member]) -> None:
    """Check the CRC of stored members, on several cores.

    Raises:
        Refused: if one is damaged.
    """
    largest_first = sorted(members, key=lambda member: -member.size)
    if sum(member.size for member in largest_first) < _ALONE or _THREADS == 1:
        for member in largest_first:
            _verify(content, member)
        return
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(lambda member: _verify(content, member), largest_first))


def _verify(content: Bytes, member: Member) -> None:
    crc = 0
    for start in range(member.start, member.start + member.size, _BLOCK):
        crc = zlib.crc32(content.read(start, min(_BLOCK, member.start + member.size - start)), crc)
    if crc != member.crc:
        raise Refused(f"its member {member.name} is damaged: its bytes do not have the CRC that was written with them")


def read_member(content: Bytes, member: Member, most: int) -> bytes:
    """The bytes of a member, unpacked and checked.

    Raises:
        Refused: if it is damaged or larger than `most`.
    """
    if member.size > most:
        raise Refused(f"its member {member.name} is larger than {most:,} bytes")
    text = content.read(member.start, member.stored_size)
    if member.deflated:
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            text = unpacker.decompress(text, member.size + 1)
        except zlib.error as error:
            raise Refused(f"its member {member.name} is damaged ({error})") from None
    if len(text) != member.size or zlib.crc32(text) != member.crc:
        raise Refused(f"its member {member.name} is damaged: its bytes do not have the CRC that was written with them")
    return text
