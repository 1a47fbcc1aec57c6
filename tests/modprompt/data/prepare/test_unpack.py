"""Archives that lie: about sizes, names, kinds. One line each, and no half of a folder."""

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile

import pytest

from modprompt.data.prepare import unpack as module
from modprompt.data.prepare.unpack import unpack
from modprompt.errors import UserError
from tests.modprompt.data.prepare.test_prepare import GOOD, tar_of, zip_of


def refused(content, folder, name="a.zip"):
    """The message of an archive that is refused; it has left nothing."""
    (folder / name).write_bytes(content)
    with pytest.raises(UserError) as raised:
        unpack(folder / name, folder / "unpacked")
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 600
    assert [path.name for path in folder.iterdir()] == [name]
    return str(raised.value)


def zipped(*members, how=zipfile.ZIP_DEFLATED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", how) as file:
        for name, content in members:
            file.writestr(name or zipfile.ZipInfo(name), content)
    return bytearray(stream.getvalue())


def tarred(*members, mode="w"):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as file:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = 0 if content is None else len(content)
            info.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            file.addfile(info, io.BytesIO(content or b""))
    return bytearray(stream.getvalue())


@pytest.mark.parametrize("content", [zip_of(GOOD), *(tar_of(GOOD, f"w:{kind}") for kind in ("", "gz", "bz2", "xz"))])
def test_whole_archive_of_any_kind_is_unpacked_whatever_its_name(content, tmp_path):
    (tmp_path / "a.txt").write_bytes(content)
    unpack(tmp_path / "a.txt", tmp_path / "folder")
    found = {str(path.relative_to(tmp_path / "folder")): path for path in (tmp_path / "folder").rglob("*.*")}
    assert {name: path.read_bytes() for name, path in found.items()} == GOOD


def test_tar_that_ends_in_a_zip_is_a_tar(tmp_path):
    (tmp_path / "a").write_bytes(tarred(("inner.zip", zip_of(GOOD))))
    unpack(tmp_path / "a", tmp_path / "folder")
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["inner.zip"]


def test_last_of_a_tars_members_of_one_name_is_taken(tmp_path):
    (tmp_path / "a").write_bytes(tarred(("a/b", b"old and longer"), ("c", b"c"), ("a/b", b"new"), ("a/b", b"last")))
    unpack(tmp_path / "a", tmp_path / "folder")
    assert (tmp_path / "folder/a/b").read_bytes() == b"last"
    assert "'./a/b' would overwrite another one" in refused_tar(tmp_path, ("a/b", b"1"), ("./a/b", b"2"))
    assert "'a' would overwrite another one" in refused_tar(tmp_path, ("a", None), ("a", b"2"))
    assert "'a' is inside or in place of another one" in refused_tar(tmp_path, ("a", b"1"), ("a", None), ("a", b"1"))


def refused_tar(folder, *members):
    (folder / "of_its_own").mkdir(exist_ok=True)
    return refused(tarred(*members), folder / "of_its_own")


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_damaged_tar_that_ends_in_a_zip_is_no_zip(mode, tmp_path):
    content = tarred(("inner.zip", bytes(zip_of(GOOD))), mode=mode)
    content[140 if mode == "w" else 12] ^= 1
    assert "it is not a whole archive" in refused(content, tmp_path).replace("a.zip is", "it is")


def test_zips_member_of_the_same_name_is_refused(tmp_path):
    twice = zipped(("a/b", b"one"), ("a/c", b"two")).replace(b"a/c", b"a/b")
    assert "its member 'a/b' would overwrite another one" in refused(twice, tmp_path)


@pytest.mark.parametrize("make", [zipped, tarred])
def test_member_on_top_of_another_is_refused(make, tmp_path):
    assert "'a/b/c' is inside or in place of another one that is a file" in refused(
        make(("a/b", b"1"), ("a/b/c", b"2")), tmp_path
    )
    assert "'a/b' would overwrite another one" in refused(make(("a/b/c", b"1"), ("a/b", b"2")), tmp_path)


@pytest.mark.parametrize("make", [zipped, tarred])
def test_names_that_the_file_system_takes_for_one_are_refused(make, tmp_path, monkeypatch):
    (tmp_path / "x").write_bytes(make(("a/B", b"1"), ("a/b", b"2")))
    plain = module._place  # as a file system has it that knows no case
    monkeypatch.setattr(module, "_place", lambda name, folder: plain(name.lower(), folder))
    with pytest.raises(UserError, match="its member 'a/b' would overwrite another one"):
        unpack(tmp_path / "x", tmp_path / "folder")


def test_folders_may_be_said_twice(tmp_path):
    (tmp_path / "a").write_bytes(tarred(("./", None), ("x", None), ("x", None), ("x/f", b"1")))
    unpack(tmp_path / "a", tmp_path / "folder")
    assert (tmp_path / "folder/x/f").read_bytes() == b"1"


@pytest.mark.parametrize("make", [zipped, tarred])
@pytest.mark.parametrize("name", ["a/" * 3000 + "f", "b" * 100_000, "c" * 300, "a/" * 65 + "f"])
def test_path_too_deep_or_too_long_is_refused(make, name, tmp_path):
    if make is zipped and len(name) >= 1 << 16:
        pytest.skip("a zip's names are shorter")
    refused(make((name, b"x")), tmp_path)


def test_member_without_a_name_is_refused(tmp_path):
    content = zipped(("x", b"1"))
    content = content.replace(b"\1\0\0\0x", b"\1\0\0\0\0")  # NUL ends a name
    assert "without a name" in refused(zipped(("", b"1")), tmp_path)
    refused(content, tmp_path)
    assert "would overwrite another one" in refused(tarred((".", b"1")), tmp_path)


@pytest.mark.parametrize(("place", "value", "said"), [(8, 1, "encrypted"), (10, 99, "compressed in a way")])
def test_encrypted_or_oddly_compressed_member_is_refused(place, value, said, tmp_path):
    content = zipped(("x", b"1"))
    for mark, offset in ((b"PK\3\4", place - 2), (b"PK\1\2", place)):
        content[content.index(mark) + offset] = value
    assert said in refused(content, tmp_path)


@pytest.mark.cover(1)
@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_what_is_counted_is_what_is_read(pack, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_LEAST_ROOM", 1000)
    large = tarred(("x", bytes(30_000_000)))
    assert "more than 200 times its size" in refused(pack(bytes(large)), tmp_path)
    large[124:136] = b"00000000010\0"  # says 8 bytes: what follows would be members
    refused(pack(bytes(large)), tmp_path)
    head = tarred(("x", b""))
    head[124:136], head[156:157] = b"77777777777\0", b"x"  # a header of 8 GB
    head[148:156] = b"%06o\0 " % (sum(head[:148]) + 8 * 32 + sum(head[156:512]))
    said = refused(pack(bytes(head[:512]) + bytes(30_000_000)), tmp_path)
    assert "too long" in said or "too large" in said or "more than 200" in said


def test_zip_that_says_too_little_of_itself_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_LEAST_ROOM", 1000)
    content = zipped(("x", bytes(30_000_000)))
    for mark, offset in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        at = content.index(mark) + offset
        content[at : at + 4] = struct.pack("<I", 8)
    refused(content, tmp_path)


@pytest.mark.parametrize("make", [zipped, tarred])
def test_too_many_members_are_refused(make, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_MOST_MEMBERS", 20)
    assert "it has more than 20 members" in refused(make(*((f"{n}", b"") for n in range(21))), tmp_path)


def test_tar_whose_second_header_is_damaged_has_not_ended_there(tmp_path):
    content = tarred(("a.txt", b"a" * 10), ("b.txt", b"b" * 10))
    content[2 * tarfile.BLOCKSIZE] ^= 1
    assert "it is damaged: a member after others" in refused(content, tmp_path, "a.tar")


def test_checksum_behind_a_compressed_tar_is_looked_at(tmp_path):
    content = bytearray(gzip.compress(tarred(("a.txt", b"a" * 10))))
    content[-8] ^= 1
    assert "CRC check failed" in refused(content, tmp_path, "a.tar.gz")


def test_folder_of_a_zip_has_one_name(tmp_path):
    content = zipped(("images/", b""), ("images/a.txt", b"a"))
    place = content.rindex(b"images/", 0, content.rindex(b"images/a.txt"))
    content[place] ^= 1
    assert "differ" in refused(content, tmp_path)


def test_zips_member_behind_a_comment_that_is_said_to_be_too_long_is_missed(tmp_path):
    """zipfile takes it for a part of the comment."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for name in ("a.txt", "b.txt"):
            file.writestr(name, name)
    raw = bytearray((tmp_path / "a.zip").read_bytes())
    raw[raw.index(b"PK\1\2") + 33] ^= 0x40
    (tmp_path / "a.zip").write_bytes(raw)
    with zipfile.ZipFile(tmp_path / "a.zip") as file:
        assert file.namelist() == ["a.txt"]
    with pytest.raises(UserError, match="damaged: 1 of its members can be found, but it states 2"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("comment", [b"", b"c" * 65535])
def test_zip_of_more_members_than_its_end_can_count_and_of_any_comment(comment, tmp_path, monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 3)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.comment = comment
        for number in range(5):
            file.writestr(f"{number}.txt", "")
    raw = bytearray((tmp_path / "a.zip").read_bytes())
    end = raw.rindex(b"PK\5\6")
    assert b"PK\6\6" in raw
    raw[end + 8 : end + 12] = b"\xff" * 4  # "see the larger record"
    (tmp_path / "a.zip").write_bytes(raw)
    unpack(tmp_path / "a.zip", tmp_path / "out")
    assert len(list((tmp_path / "out").iterdir())) == 5
