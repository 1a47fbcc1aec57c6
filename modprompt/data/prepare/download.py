"""One file from the network, whole or not there: resumed where it broke off, verified by its published digest."""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
import urllib.request
from pathlib import Path

from tqdm import tqdm

from modprompt.data.prepare.recipes import DRIVE
from modprompt.errors import UserError
from modprompt.io import lock

_CHUNK = 1 << 20
_TIMEOUT_S = 60
_PAGES = ("text/html", "application/xhtml+xml")
_PAGE_STARTS = (b"<!doctype html", b"<html", b"<head", b"<script", b"<meta ")
_BLANK = b"\xef\xbb\xbf \t\r\n"


def differing(path: Path, digest: str) -> str:
    """How a file's digest differs from the published one ("md5:hex", "sha256:hex"); empty if it does not, or for ""."""
    kind, _, expected = digest.partition(":")
    if not digest:
        return ""
    actual = hashlib.new(kind)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            actual.update(chunk)
    return (
        ""
        if actual.hexdigest() == expected
        else f"its {kind} is {actual.hexdigest()}, but the published {kind} is {expected}"
    )


def _require_file(start: bytes, kind: str = "") -> None:
    """Raise UserError if what a server sends begins as a web page, has that type, or is nothing."""
    text = start.lstrip(_BLANK)[:20].lower()
    if kind in _PAGES or text.startswith(_PAGE_STARTS):
        raise UserError("the server sent a web page instead of the file")
    if not text:
        raise UserError("the server sent an empty file")


def _version_of(headers: http.client.HTTPMessage) -> str:
    """What tells a server's file from a later one, as If-Range wants it: a strong ETag, or the time; or ""."""
    tag = headers.get("ETag", "")
    return tag if tag.startswith('"') else headers.get("Last-Modified", "")


def _fetch(url: str, part: Path, version: Path) -> None:
    """Download what is missing of `part`; all of it, unless the server's file is of the version noted beside it."""
    have = part.stat().st_size if part.is_file() and version.is_file() else 0
    noted = version.read_text() if have else ""
    asked = {"User-Agent": "modprompt", **({"Range": f"bytes={have}-", "If-Range": noted} if have else {})}
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=asked), timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if have and error.code == 416 and error.headers.get("Content-Range") == f"bytes */{have}":
            return  # all of it is here
        version.unlink(missing_ok=True)  # the next call begins anew
        raise
    with response:
        start, sent = have if response.status == 206 else 0, response.headers.get("Content-Range", "")
        if start and (not sent.startswith(f"bytes {start}-") or _version_of(response.headers) != noted):
            part.unlink()
            raise UserError(
                "the file on the server has changed since its first part was downloaded, so the first part was deleted"
            )
        total = None if response.length is None else start + response.length
        chunk = response.read(_CHUNK)
        if not start:
            _require_file(chunk, response.headers.get_content_type())
        version.unlink(missing_ok=True)
        with part.open("ab") as file, tqdm(total=total, initial=start, unit="B", unit_scale=True, disable=None) as bar:
            file.truncate(start)
            if _version_of(response.headers):
                version.write_text(_version_of(response.headers))
            while chunk:
                file.write(chunk)
                bar.update(len(chunk))
                chunk = response.read(_CHUNK)
            arrived = file.tell()
    if total is not None and arrived != total:
        raise ConnectionError(f"only {arrived:,} of {total:,} bytes arrived")


def _fetch_from_drive(identity: str, part: Path) -> None:
    try:
        import gdown

        gdown.download(id=identity, output=str(part), resume=True)
        with part.open("rb") as file:
            start = file.read(_CHUNK)
    except ImportError:
        raise UserError("files on Google Drive need the package gdown (run `pip install gdown`)") from None
    except FileNotFoundError:
        raise UserError("Google Drive did not send the file") from None
    except Exception as error:  # gdown and requests raise many kinds
        raise UserError(" ".join(str(error).split())[:200]) from None
    try:
        _require_file(start)
    except UserError:
        part.unlink()
        raise


def download(target: Path, url: str, digest: str = "") -> None:
    """Download a file to `target`; until it is whole and verified it is `target`.part, from which a later call resumes.

    Args:
        target: where it goes; its folder exists.
        url: its address; what begins with DRIVE is fetched by gdown.
        digest: "kind:hex" it must have, or "".

    Raises:
        UserError: if it cannot be downloaded, what was sent is not the file, or the disk is full.
    """
    part, version = (target.with_name(f"{target.name}.part{end}") for end in ("", ".version"))
    by_hand = f"download {url} by hand and save it as {target}"
    taken = f"Another process is downloading into {target.parent}. Wait for that process, then run the command again."
    with lock.alone(target.parent / ".lock", taken, removes=True):
        if target.exists():  # another process was faster
            return
        try:
            if url.startswith(DRIVE):
                _fetch_from_drive(url.removeprefix(DRIVE), part)
            else:
                _fetch(url, part, version)
            if wrong := differing(part, digest):
                part.unlink()
                version.unlink(missing_ok=True)
                raise UserError(f"the downloaded file was deleted, because {wrong}")
        except (OSError, http.client.HTTPException, UserError) as error:  # the network's, the disk's, or ours
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            text = " ".join(f"{getattr(error, 'code', '')} {reason}".split()) or type(error).__name__
            raise UserError(
                f"The download of {target.name} failed: {text}. Run the command again to continue the download, or "
                f"{by_hand}."
            ) from None
        version.unlink(missing_ok=True)
        part.replace(target)
