"""Archives unpacked into a new folder; one with a member that would land outside of it is refused whole."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from modprompt.errors import UserError


def _check_name(name: str, archive: Path) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or (path.parts and ":" in path.parts[0]):
        raise UserError(f"{archive.name} is refused: its member {name!r} would land outside the data set's folder")


def _unpack_zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        members = file.infolist()
        for member in members:
            _check_name(member.filename, archive)
        for member in tqdm(members, desc=f"unpacking {archive.name}", unit="file"):
            file.extract(member, folder)


def _unpack_tar(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as file:
        for member in tqdm(file, desc=f"unpacking {archive.name}", unit="file"):
            _check_name(member.name, archive)
            if member.isdir() or member.isreg():
                file.extract(member, folder, filter="data")
            elif member.issym() or member.islnk():
                _check_name(member.linkname, archive)
                file.extract(member, folder, filter="data")
            else:
                raise UserError(f"{archive.name} is refused: its member {member.name!r} is neither file nor folder")


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar archive into `folder`, which is made, and removed again if anything fails.

    Raises:
        UserError: if it is damaged, would write outside, or the disk is full.
    """
    folder.mkdir(parents=True)
    try:
        if zipfile.is_zipfile(archive):
            _unpack_zip(archive, folder)
        else:
            _unpack_tar(archive, folder)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        shutil.rmtree(folder)
        raise UserError(f"{archive.name} is not a whole archive ({error}): remove {archive} and run again") from None
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise UserError(f"{archive.name}: cannot unpack into {folder.parent} ({error.strerror or error})") from None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
