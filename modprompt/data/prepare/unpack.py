"""Archives unpacked into a new folder; one with a member that would land outside of it is refused whole.

Nothing that an archive says about itself is trusted: its kind is told by its first bytes, and the bytes that are read
and written are counted.
"""

from __future__ import annotations

import bz2
import contextlib
import functools
import gzip
import lzma
import os
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple

from tqdm import tqdm

from modprompt.errors import UserError
from modprompt.io.files import is_inside, open_regular

_MOST_TIMES, _LEAST_ROOM = 200, 64 << 20  # what an archive may unpack to: so many times its size, and this at least
_MOST_MEMBERS = 10_000_000  # ImageNet has 1.3 million images
_MOST_DEEP, _MOST_NAME = 64, 1000  # nested folders, characters of a path
_MOST_READ = 64 << 20  # bytes that are read at once: the header of a tar's member is shorter
_CHUNK = 1 << 20
_ZIP = (b"PK\3\4", b"PK\5\6")
_ZIP_END, _ZIP64_END = struct.Struct("<10xH10x"), struct.Struct("<32xQ16x")  # the number of members
_IN_ZIP64, _MOST_END = 2**16 - 1, 2**17  # placeholder for a larger number; bytes of both with the longest comment
_COMPRESSED: tuple[tuple[bytes, Any], ...] = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\0", lzma.open))


class _Refused(UserError):
    """An archive that is not unpacked; the text says why."""


class _Room:
    """How many bytes and members an archive may still unpack to."""

    def __init__(self, archive: Path) -> None:
        self.most = self.left = max(_LEAST_ROOM, _MOST_TIMES * archive.stat().st_size)
        self.members = 0

    def require(self, size: int) -> None:
        """Raise _Refused unless there is space for so many bytes more."""
        if size > self.left:
            raise _Refused(f"it would unpack to more than {_MOST_TIMES} times its size")

    def take(self, size: int) -> None:
        """Count bytes that are written."""
        self.require(size)
        self.left -= size

    def enter(self) -> None:
        """Count a member."""
        self.members += 1
        if self.members > _MOST_MEMBERS:
            raise _Refused(f"it has more than {_MOST_MEMBERS:,} members")


class _Stream:
    """A tar as it is read, decompressed: not beyond the space allowed, and not too much at once."""

    def __init__(self, file: Any, most: int) -> None:
        self._file, self._most = file, most

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MOST_READ:
            raise tarfile.ReadError("the header of a member is too long")
        self._require(self.tell() + size)
        content: bytes = self._file.read(size)
        return content

    def seek(self, place: int) -> int:
        self._require(place)
        return int(self._file.seek(place))

    def tell(self) -> int:
        return int(self._file.tell())

    def _require(self, place: int) -> None:
        if place > self._most:
            raise _Refused(f"it would unpack to more than {_MOST_TIMES} times its size")


def _place(name: str, folder: Path) -> Path:
    """Where a member goes; the folder itself, which some archives list, is allowed."""
    if not name:
        raise _Refused("it has a member without a name")
    if not is_inside(name) and name.strip("./"):
        raise _Refused(f"its member {name[:200]!r} would land outside the data set's folder")
    if len(name) > _MOST_NAME or len(Path(name).parts) > _MOST_DEEP:
        raise _Refused(f"its member {name[:60]!r}... has a path of {len(name):,} characters: too long or too deep")
    return folder / name


def _make_folder(place: Path, name: str) -> None:
    try:
        place.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise _Refused(f"its member {name!r} is inside or in place of another one that is a file") from None


def _write(content: IO[bytes], place: Path, name: str, room: _Room) -> None:
    """Write a member, never over another one, whatever names the file system takes for the same."""
    _make_folder(place.parent, name)
    try:
        file = place.open("xb")
    except (FileExistsError, IsADirectoryError):
        raise _Refused(f"its member {name!r} would overwrite another one (the same name, or but for case)") from None
    with file:
        while chunk := content.read(_CHUNK):
            room.take(len(chunk))
            file.write(chunk)


class _Member(NamedTuple):
    """A file or folder of an archive, as the archive lists it."""

    name: str
    is_folder: bool
    size: int
    open: Callable[[], Any]


def _members_of_zip(file: BinaryIO) -> Generator[_Member, None, None]:
    with zipfile.ZipFile(file) as content:
        members = content.infolist()
        _require_all(file, len(members))
        for one in members:
            if one.flag_bits & 1:
                raise _Refused(f"its member {one.filename!r} is encrypted")
            is_folder = one.filename.endswith("/")
            if is_folder:
                content.open(one).close()  # compares its name with that in its own header
            yield _Member(one.filename, is_folder, one.file_size, functools.partial(content.open, one))


def _require_all(file: BinaryIO, members: int) -> None:
    """Raise _Refused unless the end of a zip states so many members.

    zipfile does not count: if a member states too long a comment, the members after it become part of that.
    """
    file.seek(max(0, file.seek(0, os.SEEK_END) - _MOST_END))
    end = file.read()
    at, large = end.rfind(b"PK\5\6"), end.rfind(b"PK\6\6")
    said = _ZIP_END.unpack_from(end.ljust(at + _ZIP_END.size), at)[0]
    if said == _IN_ZIP64 and large >= 0:
        said = _ZIP64_END.unpack_from(end.ljust(large + _ZIP64_END.size), large)[0]
    if said not in (members, members % 2**16):  # some programs let the field overflow
        raise _Refused(f"it is damaged: {members} of its members can be found, but it states {said}")


def _members_of_tar(file: BinaryIO, start: bytes, room: _Room) -> Generator[_Member, None, None]:
    decompressed = next((opened for mark, opened in _COMPRESSED if start.startswith(mark)), contextlib.nullcontext)
    with decompressed(file) as plain:
        stream: Any = _Stream(plain, room.most)
        with tarfile.open(fileobj=stream, mode="r:") as content:
            for one in content:
                if not one.isdir() and not one.isreg():
                    raise _Refused(f"its member {one.name!r} is neither file nor folder")
                yield _Member(one.name, one.isdir(), one.size, functools.partial(content.extractfile, one))
            _require_end(plain, content.offset, room)


def _require_end(file: Any, place: int, room: _Room) -> None:
    """Raise _Refused unless a tar ends at a place: a damaged header looks like its end to tarfile.

    The rest is read too, so that the decompressor compares its checksum.
    """
    file.seek(place)
    if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
        raise _Refused("it is damaged: a member after others has no name that can be read")
    while chunk := file.read(_CHUNK):
        room.take(len(chunk))


def _unpack(members: Iterable[_Member], folder: Path, room: _Room, newer_wins: bool) -> None:
    written: set[str] = set()
    for member in members:
        room.enter()
        room.require(member.size)
        place = _place(member.name, folder)
        if member.is_folder:
            _make_folder(place, member.name)
            continue
        try:
            content = member.open()
        except NotImplementedError:
            raise _Refused(f"its member {member.name!r} is compressed in a way that is not known") from None
        if newer_wins and member.name in written:
            place.unlink()
        written.add(member.name)
        with content:
            _write(content, place, member.name, room)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar archive into `folder`, which is made, and removed again if anything fails.

    Raises:
        UserError: if it is damaged, would write outside or too much, holds links, devices or encrypted files, or the
            disk is full.
    """
    with open_regular(archive) as file:
        folder.mkdir(parents=True)
        try:
            room, start = _Room(archive), file.read(8)
            file.seek(0)
            is_zip = start.startswith(_ZIP)
            with contextlib.closing(_members_of_zip(file) if is_zip else _members_of_tar(file, start, room)) as members:
                told = tqdm(members, desc=f"unpacking {archive.name}", unit="file", disable=None)
                _unpack(told, folder, room, newer_wins=not is_zip)  # `tar -r` appends what is newer
        except BaseException as error:
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, Exception):
                raise UserError(_said(error, archive, folder)) from None
            raise


def _said(error: Exception, archive: Path, folder: Path) -> str:
    if isinstance(error, _Refused):
        return f"{archive.name} is refused: {error}: remove {archive} and get it from elsewhere"
    if isinstance(error, OSError) and error.errno is not None:
        return f"{archive.name}: cannot unpack into {folder.parent} ({error.strerror})"
    if isinstance(error, MemoryError):
        return f"{archive.name}: there is not enough memory to unpack it"
    reason = " ".join(str(error).split())[:120] or type(error).__name__  # decoders raise all kinds
    return f"{archive.name} is not a whole archive ({reason}): remove {archive} and run again"
