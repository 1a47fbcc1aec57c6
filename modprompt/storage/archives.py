"""Zip archives of PyTorch and numpy, read strictly: one reading is left, and every byte of a member is checked.

PyTorch's reader takes the first directory that it finds from the end, looks names up without regard to case, and
checks no CRC. Here an archive is its members without gaps, their directory, and its end, each agreeing with the
others; so that reader sees the members that were checked, and a flipped bit is found or changes nothing.
"""

import os
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Dict, Iterable, List, NamedTuple, Tuple

from modprompt.storage.opening import Bytes, Refused
from modprompt.storage.paths import is_inside

_LOCAL = struct.Struct("<4s5H3I2H")
_ENTRY = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR = struct.Struct("<4sIQI")
_STREAMED, _UTF8, _LEVEL = (
    0x0008,
    0x0800,
    0x0006,
)  # flags: sizes stand behind the data; names are UTF-8; deflate's level
_STORED, _DEFLATED = 0, 8
_FOLDER = 0x10  # attribute of folders, for which PyTorch's reader gives memory that nobody has written to
_ALL_ONES = 0xFFFFFFFF
_MOST_MEMBERS = 200_000
_BLOCK = 256 << 10
_ALONE = 4 << 20  # bytes that one thread checks faster than several
_THREADS = min(4, os.cpu_count() or 1)


class Member(NamedTuple):
    """A member of an archive: where its bytes are, and what they must add up to."""

    name: str
    start: int
    stored_size: int
    size: int
    crc: int
    deflated: bool


class _Entry(NamedTuple):
    name: bytes
    flags: int
    method: int
    crc: int
    stored_size: int
    size: int
    header: int


def is_archive(content: Bytes) -> bool:
    """Whether a file is a zip archive by its first bytes, as PyTorch decides it."""
    return content.size >= 4 and content.read(0, 4) == b"PK\3\4"


def read_members(content: Bytes) -> Dict[str, Member]:
    """The members of an archive by name, in the order in which they lie in it.

    Raises:
        Refused: if its parts do not agree with each other, or it has members that no archive of ours or PyTorch's has.
    """
    try:
        entries, end = _read_directory(content)
        members: Dict[str, Member] = {}
        seen, at = set(), 0
        for entry in sorted(entries, key=lambda entry: entry.header):
            member, at = _read_member(content, entry, at)
            if member.name.lower() in seen:
                raise Refused(f"it has two members {member.name}")
            seen.add(member.name.lower())
            members[member.name] = member
    except (struct.error, UnicodeDecodeError) as error:
        raise Refused(f"it is cut off or damaged ({error})") from None
    if at != end:
        raise Refused("it has bytes that belong to no member")
    return members


def _read_end(content: Bytes) -> Tuple[int, int, int]:
    """(number of members, start and end of the directory)."""
    at = content.size - _END.size
    mark, *disks, here, count, size, start, comment = _END.unpack(content.read(at, _END.size))
    if mark != b"PK\5\6" or any(disks) or here != count or comment:
        raise Refused("it does not end as an archive does: it is cut off, or something is behind its end")
    if at >= _LOCATOR.size:
        mark, disk, at64, disks = _LOCATOR.unpack(content.read(at - _LOCATOR.size, _LOCATOR.size))
        if mark == b"PK\6\7":
            if disk or disks != 1 or at64 != at - _LOCATOR.size - _END64.size:
                raise Refused("its end is damaged")
            return _read_end64(content, at64, count, size, start)
    if start + size != at:
        raise Refused("its directory is not where its end says")
    return count, start, at


def _read_end64(content: Bytes, at: int, count: int, size: int, start: int) -> Tuple[int, int, int]:
    mark, left, _, _, *disks, here, count64, size64, start64 = _END64.unpack(content.read(at, _END64.size))
    pairs = ((count, count64, 0xFFFF), (size, size64, _ALL_ONES), (start, start64, _ALL_ONES))
    agree = all(short in (full, most) for short, full, most in pairs)
    if mark != b"PK\6\6" or left != _END64.size - 12 or any(disks) or here != count64 or not agree:
        raise Refused("its end is damaged")
    if start64 + size64 != at:
        raise Refused("its directory is not where its end says")
    return count64, start64, at


def _read_directory(content: Bytes) -> Tuple[List[_Entry], int]:
    count, start, end = _read_end(content)
    if count > _MOST_MEMBERS or end - start > 1024 * max(count, 1):
        raise Refused("its directory is too large")
    text, at, entries = content.read(start, end - start), 0, []
    for _ in range(count):
        entry, at = _read_entry(text, at)
        entries.append(entry)
    if at != len(text):
        raise Refused("its directory has other entries than its end says")
    return entries, start


def _read_entry(text: bytes, at: int) -> Tuple[_Entry, int]:
    fields = _ENTRY.unpack_from(text, at)
    mark, _, _, flags, method, _, _, crc, stored_size, size, name, extra, comment, disk, _, outside, header = fields
    start, end = at + _ENTRY.size + name, at + _ENTRY.size + name + extra
    if mark != b"PK\1\2" or comment or disk or end > len(text) or outside & _FOLDER:
        raise Refused("its directory is damaged")
    size, stored_size, header = _wide(text[start:end], size, stored_size, header)
    return _Entry(text[at + _ENTRY.size : start], flags, method, crc, stored_size, size, header), end


def _wide(extra: bytes, *values: int) -> Tuple[int, ...]:
    """Values that did not fit into 32 bits, from a directory entry's extra field."""
    at, wide = 0, b""
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            wide = extra[at + 4 : at + 4 + size]
        at += 4 + size
    found = []
    for value in values:
        if value == _ALL_ONES:
            (value,) = struct.unpack_from("<Q", wide)
            wide = wide[8:]
        found.append(value)
    return tuple(found)


def _read_member(content: Bytes, entry: _Entry, at: int) -> Tuple[Member, int]:
    """A member whose header must lie at `at`, and where the next one's must."""
    name = _name_of(entry)
    head = _LOCAL.unpack(content.read(at, _LOCAL.size))
    mark, _, flags, method, _, _, crc, stored_size, size, name_size, extra_size = head
    if entry.header != at or mark != b"PK\3\4":
        raise Refused(f"its member {name} is not where the directory says")
    if content.read(at + _LOCAL.size, name_size) != entry.name or (flags, method) != (entry.flags, entry.method):
        raise Refused(f"its member {name} has another name or kind in the directory")
    said = ((crc, entry.crc), (stored_size, entry.stored_size), (size, entry.size))
    streamed = bool(flags & _STREAMED)
    if not all(here in (true, _ALL_ONES) or (streamed and not here) for here, true in said):
        raise Refused(f"its member {name} has another size or CRC in the directory")
    if flags & ~(_STREAMED | _UTF8 | _LEVEL) or method not in (_STORED, _DEFLATED):
        raise Refused(f"its member {name} is encrypted or packed in a way that is not read")
    if method == _STORED and entry.size != entry.stored_size:
        raise Refused(f"its member {name} has two sizes")
    start = at + _LOCAL.size + name_size + extra_size
    end = start + entry.stored_size
    if end > content.size:
        raise Refused(f"its member {name} is cut off")
    end = _behind_descriptor(content, entry, end) if streamed and entry.size else end
    return Member(name, start, entry.stored_size, entry.size, entry.crc, method == _DEFLATED), end


def _name_of(entry: _Entry) -> str:
    name = entry.name.decode("utf-8" if entry.flags & _UTF8 else "ascii")
    if not is_inside(name) or "\\" in name or any(part in ("", ".") for part in name.split("/")):
        raise Refused(f"its member {name[:80]!r} has a name that leads elsewhere")
    return name


def _behind_descriptor(content: Bytes, entry: _Entry, at: int) -> int:
    """The end of what stands behind a member that was written in one go: its CRC and sizes once more."""
    for shape in ("<4sI2I", "<4sI2Q"):
        size = struct.calcsize(shape)
        if at + size <= content.size:
            again = struct.unpack(shape, content.read(at, size))
            if again == (b"PK\7\x08", entry.crc, entry.stored_size, entry.size):
                return at + size
    raise Refused(f"its member {entry.name.decode('utf-8', 'replace')} has another size or CRC behind it")


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
