import io
import struct
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modprompt.io.archives import is_archive, read_member, read_members, verify
from modprompt.io.safe_open import Bytes, Refused


def archive(members, packed=()):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name, content in members:
            file.writestr(name, content, zipfile.ZIP_DEFLATED if name in packed else zipfile.ZIP_STORED)
    return stream.getvalue()


@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,8}(/[a-z0-9_.]{1,8}x)?", fullmatch=True), st.binary(max_size=300), max_size=6
    )
)
def test_members_come_out_as_they_went_in(members):
    content = Bytes(archive(members.items(), packed=[name for name in members if "y" in name]))
    found = read_members(content) if members else {}
    assert {name: read_member(content, member, 1000) for name, member in found.items()} == members
    verify(content, [member for member in found.values() if not member.deflated])


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("a", b"1"), ("a", b"2")], "two members"),
        ([("a", b"1"), ("A", b"2")], "two members"),
        ([("../a", b"1")], "leads elsewhere"),
        ([("/a", b"1")], "leads elsewhere"),
        ([("a/../b", b"1")], "leads elsewhere"),
        ([("a/./b", b"1")], "leads elsewhere"),
        ([("a\\b", b"1")], "leads elsewhere"),
        ([("C:a", b"1")], "leads elsewhere"),
        ([("a/", b"")], "leads elsewhere|damaged"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_two_readers_may_take_differently_are_refused(members, message):
    with pytest.raises(Refused, match=message):
        read_members(Bytes(archive(members)))


GOOD = archive([("a/b", b"12345"), ("a/c", b"")])


@pytest.mark.parametrize(
    "raw",
    [
        GOOD[:-1],
        GOOD + b"x",
        b"x" + GOOD,
        GOOD + GOOD,
        GOOD[:-22] + b"PK\5\6" + bytes(18),
        GOOD[:-2] + b"\1\0",
        GOOD.replace(b"12345", b"1234"),
        GOOD.replace(b"a/b", b"a/d", 1),
        GOOD[:6] + b"\1" + GOOD[7:],
    ],
)
def test_parts_that_do_not_agree_are_refused(raw):
    with pytest.raises(Refused):
        read_members(Bytes(raw))


def test_encrypted_and_oddly_packed_members_are_refused():
    for offset, value in ((6, b"\1\0"), (8, b"\x0c\0")):
        entry = GOOD.index(b"PK\1\2") + 2 + offset
        raw = GOOD[:offset] + value + GOOD[offset + 2 : entry] + value + GOOD[entry + 2 :]
        with pytest.raises(Refused, match="encrypted or packed"):
            read_members(Bytes(raw))


def test_damaged_members_are_named():
    content = Bytes(GOOD.replace(b"12345", b"12346"))
    members = read_members(content)
    with pytest.raises(Refused, match="its member a/b is damaged"):
        verify(content, members.values())
    with pytest.raises(Refused, match="its member a/b is damaged"):
        read_member(content, members["a/b"], 100)


def test_packed_members_cannot_grow_beyond_what_they_say():
    raw = archive([("a", bytes(1_000_000))], packed=["a"])
    content = Bytes(raw)
    member = read_members(content)["a"]
    with pytest.raises(Refused, match="larger than"):
        read_member(content, member, 1000)
    small = struct.pack("<I", 10)
    lied = Bytes(raw.replace(struct.pack("<I", 1_000_000), small))
    with pytest.raises(Refused, match="CRC"):
        read_member(lied, read_members(lied)["a"], 1000)


def test_archives_are_known_by_their_first_bytes():
    assert is_archive(Bytes(GOOD))
    assert not is_archive(Bytes(b""))
    assert not is_archive(Bytes(b"x" + GOOD))


def test_a_large_member_is_checked_in_pieces(tmp_path):
    (tmp_path / "file").write_bytes(archive([("a", bytes(range(256)) * 40_000), ("b", b"x")]))
    with (tmp_path / "file").open("rb") as file:
        content = Bytes(file)
        verify(content, read_members(content).values())
    raw = bytearray((tmp_path / "file").read_bytes())
    raw[9_000_000] ^= 4
    content = Bytes(bytes(raw))
    with pytest.raises(Refused, match="its member a is damaged"):
        verify(content, read_members(content).values())
