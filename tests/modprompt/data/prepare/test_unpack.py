"""Archives that are whole, and such as lie: one line each, and no half of a folder."""

import bz2
import gzip
import io
import itertools
import lzma
import stat
import tarfile
import zipfile

import pytest

from modprompt.data.prepare.unpack import unpack
from modprompt.errors import UserError

GOOD = {"inner/images/a.jpg": b"a" * 5000, "inner/images/b.jpg": b"b", "inner/list.txt": b"a", "inner/rest.txt": b"x"}


def tar_of(members, kind="w:gz"):
    """A tar; a member is its content, or (type, name that a link leads to)."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=kind) as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                file.addfile(info, io.BytesIO(content))
            else:
                info.type, info.linkname = content
                file.addfile(info)
    return stream.getvalue()


def zip_of(members, how=zipfile.ZIP_DEFLATED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", how) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return stream.getvalue()


def flipped(content, place):
    content = bytearray(content)
    content[place] ^= 1
    return bytes(content)


def zip_with_link():
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    return zip_of({link: "/etc/passwd"}, zipfile.ZIP_STORED)


@pytest.mark.parametrize("content", [zip_of(GOOD), *(tar_of(GOOD, f"w:{kind}") for kind in ("", "gz", "bz2", "xz"))])
def test_whole_archive_of_any_kind_is_unpacked_whatever_its_name(content, tmp_path):
    (tmp_path / "a.txt").write_bytes(content)
    unpack(tmp_path / "a.txt", tmp_path / "folder")
    files = {str(path.relative_to(tmp_path / "folder")): path for path in (tmp_path / "folder").rglob("*.*")}
    assert {name: path.read_bytes() for name, path in files.items()} == GOOD


def test_absolute_path_of_a_tar_stays_inside(tmp_path):
    (tmp_path / "a").write_bytes(tar_of({f"{tmp_path}/outside.txt": b"x"}))
    unpack(tmp_path / "a", tmp_path / "folder")
    assert {path.name for path in tmp_path.iterdir()} == {"a", "folder"}


PLAIN_TAR = tar_of(GOOD, "w")
SECOND = PLAIN_TAR.index(b"inner/images/b.jpg")
NO_FILE, OUTSIDE = "is neither a file nor a directory", "leads outside"
REFUSED = [
    (tar_of({**GOOD, "../outside.txt": b"x"}), "outside the destination"),
    (tar_of({**GOOD, "inner/../../outside.txt": b"x"}), "outside the destination"),
    (tar_of({**GOOD, "inner/link": (tarfile.SYMTYPE, "images")}), NO_FILE),
    (tar_of({"link": (tarfile.SYMTYPE, "../outside"), "link/x": b"x"}), NO_FILE),
    (tar_of({**GOOD, "inner/hard": (tarfile.LNKTYPE, "inner/list.txt")}), NO_FILE),
    (tar_of({**GOOD, "inner/device": (tarfile.BLKTYPE, "")}), NO_FILE),
    *((zip_of({"good.txt": b"x", f"{way}outside.txt": b"x"}), OUTSIDE) for way in ("../", "/", "..\\", "C:\\")),
    (zip_with_link(), "the entry 'link' is a link"),
    (flipped(PLAIN_TAR, SECOND), "its end marker is missing"),  # tarfile takes a bad header for the end
    (PLAIN_TAR[:SECOND], ""),
    (PLAIN_TAR[: SECOND + 100], ""),
    (flipped(gzip.compress(PLAIN_TAR), -8), ""),
    *((pack(PLAIN_TAR)[:-9], "") for pack in (gzip.compress, bz2.compress, lzma.compress)),
    (zip_of(GOOD)[:-9], ""),
    (flipped(zip_of(GOOD, zipfile.ZIP_STORED), 100), ""),
    (b"", ""),
    (b"no archive" * 100, ""),
]


@pytest.mark.parametrize(("content", "said"), REFUSED, ids=itertools.count())
def test_archive_that_is_damaged_or_leads_outside_is_refused_and_leaves_nothing(content, said, tmp_path):
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(
        UserError, match=r"^The archive .*a\.zip is rejected: .*\. Remove the archive and run the command again\.$"
    ) as raised:
        unpack(tmp_path / "a.zip", tmp_path / "unpacked")
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]
