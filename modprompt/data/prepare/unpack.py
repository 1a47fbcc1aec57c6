"""Archives unpacked into a new folder; one with a member that would land outside of it is refused whole.

Nothing that an archive says of itself is taken at its word: its kind is told by its first bytes, and what is counted is
what is read and written.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import IO, Any, BinaryIO

from tqdm import tqdm

from modprompt.errors import UserError
from modprompt.storage.opening import open_regular
from modprompt.storage.paths import is_inside

_MOST_TIMES, _LEAST_ROOM = 200, 64 << 20  # what an archive may unpack to: so many times its size, and this at least
_MOST_MEMBERS = 10_000_000  # ImageNet has 1.3 million images
_MOST_DEEP, _MOST_NAME = 64, 1000  # folders in each other, characters of a path
_MOST_READ = 64 << 20  # bytes that are asked for at once: what stands before a tar's member is shorter
_CHUNK = 1 << 20
_ZIP = (b"PK\3\4", b"PK\5\6")
_ZIP_END, _ZIP64_END = struct.Struct("<10xH10x"), struct.Struct("<32xQ16x")  # the number of members
_IN_ZIP64, _MOST_END = 2**16 - 1, 2**17  # what stands in for a larger number; bytes of both with the longest comment
_COMPRESSED: tuple[tuple[bytes, Any], ...] = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\0", lzma.open))


class _Refused(UserError):
    """An archive that nothing is taken from; the text says why."""


class _Room:
    """What is left of the bytes and members that an archive may unpack to."""

    def __init__(self, archive: Path) -> None:
        self.most = self.left = max(_LEAST_ROOM, _MOST_TIMES * archive.stat().st_size)
        self.members = 0

    def require(self, size: int) -> None:
        """Raise _Refused unless there is room for so many bytes more."""
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
    """A tar as it is read, decompressed: no further than there is room, and not too much of it at once."""

    def __init__(self, file: Any, most: int) -> None:
        self._file, self._most = file, most

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MOST_READ:
            raise tarfile.ReadError("what stands before a member is too long")
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
    """Where a member goes; the folder itself, as some archives have it, is no harm."""
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
        raise _Refused(f"its member {name!r} stands in or on another one that is a file") from None


def _write(content: IO[bytes], place: Path, name: str, room: _Room) -> None:
    """Write a member, never onto another one, whatever the file system takes for the same name."""
    _make_folder(place.parent, name)
    try:
        file = place.open("xb")
    except (FileExistsError, IsADirectoryError):
        raise _Refused(f"its member {name!r} stands on another one (of the same name, or but for its case)") from None
    with file:
        while chunk := content.read(_CHUNK):
            room.take(len(chunk))
            file.write(chunk)


def _unpack_zip(file: BinaryIO, archive: Path, folder: Path, room: _Room) -> None:
    with zipfile.ZipFile(file) as content:
        members = content.infolist()
        _require_all(file, len(members))
        said = 0
        for member in members:
            room.enter()
            said += member.file_size
            room.require(said)
            _place(member.filename, folder)
        for member in tqdm(members, desc=f"unpacking {archive.name}", unit="file"):
            place = _place(member.filename, folder)
            if member.flag_bits & 1:
                raise _Refused(f"its member {member.filename!r} is encrypted")
            try:
                stream = content.open(member)
            except NotImplementedError:
                raise _Refused(f"its member {member.filename!r} is compressed in a way that is not known") from None
            with stream:  # of a folder, too: its name is compared with the one in front of it
                if member.is_dir():
                    _make_folder(place, member.filename)
                else:
                    _write(stream, place, member.filename, room)


def _require_all(file: BinaryIO, members: int) -> None:
    """Raise _Refused unless so many members are as many as the end of a zip says.

    zipfile does not count: behind a member whose comment is said to be too long, the others are part of it.
    """
    file.seek(max(0, file.seek(0, os.SEEK_END) - _MOST_END))
    end = file.read()
    at, large = end.rfind(b"PK\5\6"), end.rfind(b"PK\6\6")
    said = _ZIP_END.unpack_from(end.ljust(at + _ZIP_END.size), at)[0]
    if said == _IN_ZIP64 and large >= 0:
        said = _ZIP64_END.unpack_from(end.ljust(large + _ZIP64_END.size), large)[0]
    if said not in (members, members % 2**16):  # some programs count on where the field has no more room
        raise _Refused(f"it is damaged: {members} of its members can be found, and it says {said}")


def _unpack_tar(file: Any, archive: Path, folder: Path, room: _Room) -> None:
    stream: Any = _Stream(file, room.most)
    written: set[str] = set()
    with tarfile.open(fileobj=stream, mode="r:") as content:
        for member in tqdm(content, desc=f"unpacking {archive.name}", unit="file"):
            room.enter()
            place = _place(member.name, folder)
            if member.isdir():
                _make_folder(place, member.name)
                continue
            if not member.isreg():
                raise _Refused(f"its member {member.name!r} is neither file nor folder")
            room.require(member.size)
            extracted = content.extractfile(member)
            assert extracted is not None  # of a regular one
            if member.name in written:  # `tar -r` puts what is newer behind
                place.unlink()
            written.add(member.name)
            with extracted:
                _write(extracted, place, member.name, room)
        _require_end(file, content.offset, room)


def _require_end(file: Any, place: int, room: _Room) -> None:
    """Raise _Refused unless a tar ends at a place: a header that is damaged looks to tarfile as its end.

    What is behind it is read, so that whatever decompresses it compares its checksum.
    """
    file.seek(place)
    if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
        raise _Refused("it is damaged: a member behind others has no name that can be read")
    while chunk := file.read(_CHUNK):
        room.take(len(chunk))


def _is_zip(file: BinaryIO, start: bytes) -> bool:
    """Whether a file is a zip, maybe with something in front: a program that unpacks it, or the mark of a split one.

    What is_zipfile looks at stands at the end of a tar that holds a zip, too.
    """
    if start.startswith(_ZIP):
        return True
    if start.startswith(tuple(mark for mark, _ in _COMPRESSED)) or _is_tar(start):
        return False
    return zipfile.is_zipfile(file)


def _is_tar(start: bytes) -> bool:
    """Whether the first block is a tar's header, whole or damaged."""
    if start[257:262] == b"ustar":
        return True
    try:
        tarfile.TarInfo.frombuf(start, tarfile.ENCODING, "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def _unpack(file: BinaryIO, archive: Path, folder: Path) -> None:
    room, start = _Room(archive), file.read(tarfile.BLOCKSIZE)
    is_zip = _is_zip(file, start)
    file.seek(0)
    if is_zip:
        _unpack_zip(file, archive, folder, room)
        return
    for mark, decompressed in _COMPRESSED:
        if start.startswith(mark):
            with decompressed(file) as content:
                _unpack_tar(content, archive, folder, room)
            return
    _unpack_tar(file, archive, folder, room)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar archive into `folder`, which is made, and removed again if anything fails.

    Raises:
        UserError: if it is damaged, would write outside or too much, holds links, devices or what is encrypted, or the
            disk is full.
    """
    with open_regular(archive) as file:
        folder.mkdir(parents=True)
        try:
            _unpack(file, archive, folder)
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
