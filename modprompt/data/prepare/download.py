"""One file from the network, whole or not there: resumed where it broke off, verified by its published digest."""

from __future__ import annotations

import hashlib
import http.client
import os
import socket
import stat
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from modprompt.errors import UserError
from modprompt.io import lock
from modprompt.io.files import open_regular

_CHUNK = 1 << 20
_TIMEOUT_S = 60
MOST_BYTES = 400 * 10**9  # of a file: ImageNet's largest archive has 150 GB
_MOST_DIGITS = 20
_PAGES = ("text/html", "application/xhtml+xml")
_PAGE_STARTS = (b"<!doctype html", b"<html", b"<head", b"<script", b"<meta ")
_BLANK = b"\xef\xbb\xbf \t\r\n"
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


def _open_part(part: Path) -> BinaryIO:
    """A part file, created if it is missing, open at its end; never through a link."""
    file = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise UserError(f"{part} is no file")
    os.lseek(file, 0, os.SEEK_END)
    return os.fdopen(file, "r+b")


class _WrongPart(UserError):
    """The part does not belong to the file: it is removed."""


class _WrongAnswer(UserError):
    """A server's answer is not the file, but for example a login page: none of it goes into the part."""


def _number(text: str | None) -> int | None:
    """The number in Content-Length; None if there is none."""
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < _MOST_DIGITS):
        raise _WrongAnswer(f"the server says that it sends {text[:40]!r} bytes")
    return int(text)


def _require_room(size: int | None, wrong: type[UserError]) -> None:
    if size is not None and size > MOST_BYTES:
        raise wrong(f"it has more than {MOST_BYTES // 10**9} GB, which no data set's file has")


def _nothing_is_left(error: urllib.error.HTTPError, have: int) -> None:
    """Check a part after which a server has nothing to send: it must be the whole file, if the size is known."""
    size = (error.headers.get("Content-Range") or "").rpartition("/")[2]
    if size.isdigit() and size != str(have):
        longer = len(size) < _MOST_DIGITS and int(size) < have
        raise (_WrongPart if longer else _WrongAnswer)(
            f"the part that is here has {have} bytes, the server's file {size[:_MOST_DIGITS]}"
        )


def _require_file(response: http.client.HTTPResponse, have: int, start: int, checked: bool) -> None:
    """Check the headers of an answer that begins at `start` of the file, when `have` bytes are here."""
    part = response.headers.get("Content-Range") or ""
    if start and part and not part.startswith(f"bytes {start}-"):
        raise _WrongAnswer(f"the server was asked for what follows byte {start}, and sends {part[:60]!r}")
    would_lose = have > start
    if (would_lose or not checked) and response.headers.get_content_type() in _PAGES:
        raise _WrongAnswer("the server sends a web page in place of the file")


def _require_more(first: bytes, total: int | None, have: int) -> None:
    """Check an answer that begins the file anew: it must not replace what is here with less."""
    if _is_page(first):
        raise _WrongAnswer("what was sent is a web page, not the file")
    if have and not first:
        raise _WrongAnswer("what was sent is empty")
    if total is not None and total < have:
        raise _WrongAnswer(f"the server does not resume, and its file has {total} bytes, the part that is here {have}")


def _is_page(content: bytes) -> bool:
    return content.lstrip(_BLANK)[:20].lower().startswith(_PAGE_STARTS)


def _append(url: str, part: Path, checked: bool) -> None:
    """Download what is missing of `part`; from the start if the server does not resume."""
    with _open_part(part) as file:
        have = file.seek(0, os.SEEK_END)
        request = urllib.request.Request(
            url, headers={"User-Agent": "modprompt", **({"Range": f"bytes={have}-"} if have else {})}
        )
        try:
            response = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416 and have:
                return _nothing_is_left(error, have)
            raise
        with response:
            start = have if response.status == 206 else 0
            _require_file(response, have, start, checked)
            left = _number(response.headers.get("Content-Length"))
            total = None if left is None else left + start
            _require_room(total, _WrongAnswer)
            chunk = response.read(_CHUNK)
            if not start:
                _require_more(chunk, total, have)
            file.truncate(file.seek(start))
            name = part.name.removesuffix(".part")
            with tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=name, disable=None) as bar:
                while chunk:
                    _require_room(file.tell() + len(chunk), _WrongPart)
                    file.write(chunk)
                    bar.update(len(chunk))
                    chunk = response.read(_CHUNK)
            arrived = file.tell()
    if total is not None and arrived != total:
        raise http.client.IncompleteRead(b"", total - arrived)


def _require_content(part: Path) -> None:
    """Check that something arrived, and not an error page."""
    with open_regular(part) as file:
        start = file.read(_CHUNK)
    if _is_page(start):
        raise _WrongPart("what was sent is a web page, not the file")
    if not start.strip(_BLANK):
        raise _WrongPart("what was sent is empty")
    _require_room(part.stat().st_size, _WrongPart)


def _drive(identity: str, part: Path) -> None:
    try:
        import gdown
    except ImportError:
        raise UserError("files on Google Drive need gdown: pip install gdown") from None
    try:
        done = gdown.download(id=identity, output=str(part), resume=True)
    except Exception as error:  # gdown raises many kinds
        if type(error).__name__ == "ConnectionError":  # of requests
            raise UserError("drive.google.com cannot be reached: is there a network?") from None
        raise UserError(" ".join(str(error).split())[:200]) from None
    if done is None or not part.is_file():
        raise UserError("Google Drive did not deliver it")


def download(target: Path, *, url: str = "", drive: str = "", digest: str = "") -> None:
    """Download a file to `target`; until it is whole and verified it is `target`.part, from which a later call resumes.

    Args:
        target: where it goes; its folder exists.
        url: its address, or
        drive: its id on Google Drive.
        digest: "kind:hex" it must have, or "".

    Raises:
        UserError: if it cannot be downloaded or the disk is full; on a wrong answer, such as a web page: then the part
            stays as it was; if what arrived is a web page, empty or larger than MOST_BYTES, or its digest is wrong:
            then it is removed.
    """
    folder = target.parent
    taken = f"another download into {folder} is running: wait for it, then run again"
    try:
        with lock.alone(folder / ".lock", taken, removes=True):
            if not target.exists():  # else another process was faster
                _download(target, url, drive, digest)
    except OSError as error:
        raise UserError(f"{target.name}: cannot write into {folder} ({error.strerror})") from None


def _kept(part: Path) -> str:
    """What happens to a part after a wrong answer, in words; an empty one is removed."""
    if not part.stat().st_size:
        part.unlink()
        return "nothing of it is kept; run again"
    return f"{part} is kept as it was; run again to resume it, remove it to begin anew"


def _download(target: Path, url: str, drive: str, digest: str) -> None:
    part = target.with_name(target.name + ".part")
    source = url or f"https://drive.google.com/file/d/{drive}"
    by_hand = f"fetch {source} by hand and put it at {target}"
    if part.is_symlink():
        raise UserError(f"{target.name}: {part} is a link, and nothing is written through it: remove it and run again")
    try:
        if url:
            _append(url, part, bool(digest))
        else:
            _drive(drive, part)
        _require_content(part)
    except _WrongAnswer as error:
        raise UserError(f"{target.name}: {error}: {_kept(part)}, or {by_hand}") from None
    except _WrongPart as error:
        part.unlink()
        raise UserError(f"{target.name}: {error}: removed; {by_hand}") from None
    except _BROKEN as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(getattr(error, "reason", None), socket.gaierror):
            reason = f"{urllib.parse.urlsplit(url).hostname} cannot be reached: is there a network?"
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
