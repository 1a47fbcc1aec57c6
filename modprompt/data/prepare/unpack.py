"""Archives unpacked into a new folder; one that holds links, or would write outside of it, is refused whole."""

from __future__ import annotations

import shutil
import stat
import tarfile
import zipfile
from pathlib import Path

from modprompt.errors import UserError
from modprompt.io.files import Refused, is_inside

_CHUNK = 1 << 20
_ZIP = b"PK\3\4"


def _plain(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo:
    """Python's filter for data, which keeps members inside, without links."""
    if not (member.isreg() or member.isdir()):
        raise Refused(f"the entry {member.name[:200]!r} is neither a file nor a directory")
    return tarfile.data_filter(member, folder)


def _unpack_tar(archive: Path, folder: Path) -> None:
    if not hasattr(tarfile, "data_filter"):
        raise Refused("this Python version has no tarfile.data_filter. Use Python 3.10.12, 3.11.4 or a newer version")
    with tarfile.open(archive) as content:
        for member in content:  # one by one, so that what is compressed is read once
            content.extract(member, folder, filter=_plain)
        file = content.fileobj
        assert file is not None
        file.seek(content.offset)  # a damaged header looks like the end to tarfile
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise Refused("the archive is truncated or damaged, because its end marker is missing")
        while file.read(_CHUNK):  # so that the decompressor compares its checksum
            pass


def _unpack_zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as content:
        for member in content.infolist():  # zipfile would put elsewhere, without a word, what leads outside
            if not is_inside(member.filename) or stat.S_ISLNK(member.external_attr >> 16):
                raise Refused(
                    f"the entry {member.filename[:200]!r} is a link, or its path leads outside the archive folder"
                )
        content.extractall(folder)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar archive into `folder`, which is made, and removed again if anything fails.

    Raises:
        UserError: if it is damaged, holds links, devices or encrypted files, would write outside, or the disk is full.
    """
    print(f"Unpacking {archive}")
    with archive.open("rb") as file:
        unpack_kind = _unpack_zip if file.read(len(_ZIP)) == _ZIP else _unpack_tar
    try:
        folder.mkdir(parents=True)
        unpack_kind(archive, folder)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if not isinstance(error, Exception):
            raise
        if isinstance(error, OSError) and error.errno is not None and not isinstance(error, tarfile.TarError):
            raise UserError(
                f"The archive {archive.name} cannot be unpacked into {folder.parent} ({error.strerror}). Check the "
                "free disk space and the permissions of the folder."
            ) from None
        reason = " ".join(str(error).split())[:300] or type(error).__name__  # decoders raise all kinds
        raise UserError(
            f"The archive {archive} is rejected: {reason}. Remove the archive and run the command again."
        ) from None
