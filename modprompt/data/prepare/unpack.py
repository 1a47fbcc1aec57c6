"""Archives unpacked into a new folder; one with a member that would land outside of it is refused whole."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from modprompt.errors import UserError
from modprompt.storage.opening import open_regular
from modprompt.storage.paths import is_inside

_MOST_TIMES, _LEAST_ROOM = 200, 64 << 20  # what an archive may unpack to: so many times its size, and this at least
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, ValueError, RuntimeError, NotImplementedError)


class _Room:
    """What is left of the bytes that an archive may unpack to."""

    def __init__(self, archive: Path) -> None:
        self.archive, self.left = archive, max(_LEAST_ROOM, _MOST_TIMES * archive.stat().st_size)

    def take(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise UserError(
                f"{self.archive.name} is refused: it would unpack to more than {_MOST_TIMES} times its size"
            )


def _check_name(name: str, archive: Path) -> None:
    if not is_inside(name) and name.strip("./"):  # the folder itself, as some archives have it, is no harm
        raise UserError(f"{archive.name} is refused: its member {name!r} would land outside the data set's folder")


def _unpack_zip(file: BinaryIO, archive: Path, folder: Path) -> None:
    room = _Room(archive)
    with zipfile.ZipFile(file) as content:
        members = content.infolist()
        for member in members:
            _check_name(member.filename, archive)
            room.take(member.file_size)
        for member in tqdm(members, desc=f"unpacking {archive.name}", unit="file"):
            content.extract(member, folder)


def _unpack_tar(file: BinaryIO, archive: Path, folder: Path) -> None:
    room = _Room(archive)
    with tarfile.open(fileobj=file) as content:
        for member in tqdm(content, desc=f"unpacking {archive.name}", unit="file"):
            _check_name(member.name, archive)
            if not (member.isdir() or member.isreg()):
                raise UserError(f"{archive.name} is refused: its member {member.name!r} is neither file nor folder")
            room.take(member.size)
            content.extract(member, folder, filter="data")


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar archive into `folder`, which is made, and removed again if anything fails.

    Raises:
        UserError: if it is damaged, would write outside, holds links or devices, or the disk is full.
    """
    with open_regular(archive) as file:
        folder.mkdir(parents=True)
        try:
            if zipfile.is_zipfile(file):
                _unpack_zip(file, archive, folder)
            else:
                file.seek(0)
                _unpack_tar(file, archive, folder)
        except UserError:
            shutil.rmtree(folder)
            raise
        except _DAMAGED as error:
            shutil.rmtree(folder)
            raise UserError(
                f"{archive.name} is not a whole archive ({error}): remove {archive} and run again"
            ) from None
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise UserError(f"{archive.name}: cannot unpack into {folder.parent} ({error.strerror or error})") from None
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
