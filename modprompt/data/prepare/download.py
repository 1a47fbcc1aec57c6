"""One file from the network, whole or not there: resumed where it broke off, verified by its published digest."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import stat
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from modprompt.errors import UserError
from modprompt.storage.lock import NoLocks, take_folder
from modprompt.storage.opening import open_regular
from modprompt.storage.paths import is_link

_CHUNK = 1 << 20
_TIMEOUT_S = 60
_BROKEN = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError)


def digest_of(path: Path, kind: str) -> str:
    """Hex digest (md5, sha256) of a file."""
    digest = hashlib.new(kind)
    with open_regular(path) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def verify(path: Path, digest: str) -> None:
    """Compare a file with its published digest ("kind:hex"; "" passes).

    Raises:
        UserError: if they differ.
    """
    if not digest:
        return
    kind, _, expected = digest.partition(":")
    found = digest_of(path, kind)
    if found != expected:
        raise UserError(f"{path.name}: {kind} is {found}, published is {expected}")


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One download at a time in a folder."""
    try:
        lock = take_folder(folder)
    except NoLocks as error:
        print(f"warning: {error.strerror}: do not start a second download into {folder} beside this one")
        lock = -1
    if lock is None:
        raise UserError(f"another download into {folder} is at work: wait for it, then run again")
    try:
        yield
    finally:
        if lock >= 0:
            os.close(lock)


def _open_part(part: Path) -> BinaryIO:
    """A part, made if it is not there, open at its end; never through a link."""
    file = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise UserError(f"{part} is no file")
    os.lseek(file, 0, os.SEEK_END)
    return os.fdopen(file, "r+b")


def _append(url: str, part: Path) -> None:
    """Download what is missing of `part`; from the start if the server does not resume."""
    with _open_part(part) as file:
        have = file.seek(0, os.SEEK_END)
        request = urllib.request.Request(
            url, headers={"User-Agent": "modprompt", **({"Range": f"bytes={have}-"} if have else {})}
        )
        try:
            response = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
        except urllib.error.HTTPError as error:
            if error.code == 416 and have:  # nothing is left to send
                return
            raise
        with response:
            have = have if response.status == 206 else 0
            file.truncate(file.seek(have))
            left = response.headers.get("Content-Length")
            total = int(left) + have if left else None
            with tqdm(
                total=total, initial=have, unit="B", unit_scale=True, desc=part.name.removesuffix(".part")
            ) as bar:
                while chunk := response.read(_CHUNK):
                    file.write(chunk)
                    bar.update(len(chunk))
            arrived = file.tell()
    if total is not None and arrived < total:
        raise http.client.IncompleteRead(b"", total - arrived)


def _drive(identity: str, part: Path) -> None:
    try:
        import gdown
    except ImportError:
        raise UserError("files on Google Drive need gdown: pip install gdown") from None
    try:
        done = gdown.download(id=identity, output=str(part), resume=True)
    except Exception as error:  # gdown raises many kinds
        raise UserError(" ".join(str(error).split())[:200]) from None
    if done is None:
        raise UserError("Google Drive did not hand it out")


def download(target: Path, *, url: str = "", drive: str = "", digest: str = "") -> None:
    """Download a file to `target`; until it is whole and verified it is `target`.part, which a later call goes on from.

    Args:
        target: where it goes; its folder exists.
        url: its address, or
        drive: its id on Google Drive.
        digest: "kind:hex" it must have, or "".

    Raises:
        UserError: if it cannot be had, the disk is full, or its digest is wrong (then it is removed).
    """
    with _alone(target.parent):
        if not target.exists():  # else another process was faster
            _download(target, url, drive, digest)


def _download(target: Path, url: str, drive: str, digest: str) -> None:
    part = target.with_name(target.name + ".part")
    source = url or f"https://drive.google.com/file/d/{drive}"
    by_hand = f"fetch {source} by hand and put it at {target}"
    if is_link(part):
        raise UserError(f"{target.name}: {part} is a link, and nothing is written through it: remove it and run again")
    try:
        if url:
            _append(url, part)
        else:
            _drive(drive, part)
    except _BROKEN as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{target.name}: the download broke off ({reason}); run again to resume, or {by_hand}"
        ) from None
    except UserError as error:
        raise UserError(f"{target.name}: {error}; run again, or {by_hand}") from None
    except OSError as error:
        raise UserError(f"{target.name}: cannot write {part} ({error.strerror}); run again to resume") from None
    try:
        verify(part, digest)
    except UserError as error:
        part.unlink()
        raise UserError(f"{str(error).replace('.part', '')}: removed; run again, or {by_hand}") from None
    part.replace(target)
