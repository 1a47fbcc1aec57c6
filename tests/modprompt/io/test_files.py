import errno
import os
from pathlib import Path

import pytest

from modprompt.errors import UserError
from modprompt.io import files
from modprompt.io.files import is_inside, open_regular, part_of, read_bytes, read_text, remove_parts


def test_missing_files_stay_missing_files_and_all_else_is_a_line(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "a", tmp_path / "a" / "b", tmp_path / "file" / "below"):
        with pytest.raises(FileNotFoundError, match=f"The file {path} does not exist"):
            open_regular(path)
    with pytest.raises(UserError, match="is a folder, not a file"):
        read_bytes(tmp_path)
    with pytest.raises(UserError, match="Cannot read a.b"):
        read_bytes("a\0b")


def test_files_that_the_machine_cannot_open_now_are_not_called_unreadable(tmp_path, monkeypatch):
    def none_left(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(files, "open", none_left, raising=False)
    with pytest.raises(OSError, match="Too many"):
        open_regular(tmp_path / "file")


def test_text_has_plain_ends_of_lines_and_no_mark_in_front(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"\xef\xbb\xbfa\r\nb\r")
    assert read_text(path) == "a\nb\n"
    path.write_bytes(b"\xff")
    with pytest.raises(UserError, match="is not valid UTF-8 text .* at byte 0"):
        read_text(path)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_file_appears_whole(tmp_path):
    path = tmp_path / "new" / "file.bin"
    with part_of(path) as file:
        file.write(b"whole")
        assert not path.exists()
        assert len(list(path.parent.iterdir())) == 1
    assert path.read_bytes() == b"whole"
    assert names(path.parent) == ["file.bin"]


@pytest.mark.parametrize("durable", [False, True])
def test_what_must_survive_a_power_cut_is_synced_with_its_name(durable, tmp_path, monkeypatch):
    synced, fsync = [], os.fsync

    def noted(descriptor):
        synced.append((str(Path(f"/proc/self/fd/{descriptor}").readlink()), (tmp_path / "file").exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    with part_of(tmp_path / "file", durable) as file:
        file.write(b"whole")
    if durable:
        (aside, early), *others = synced
        assert aside.endswith(".part")
        assert not early
        assert others == [(str(tmp_path), True)]  # after it got its name
    else:
        assert synced == []


def test_writer_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("before")

    def writes_half():
        with part_of(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        writes_half()
    assert path.read_text() == "before"
    assert names(tmp_path) == ["file.txt"]


def test_link_is_replaced_and_what_it_leads_to_is_left_alone(tmp_path):
    other, path = tmp_path / "other.txt", tmp_path / "file.txt"
    other.write_text("mine")
    path.symlink_to(other)
    with part_of(path) as file:
        file.write(b"new")
    assert other.read_text() == "mine"
    assert path.read_text() == "new"
    assert not path.is_symlink()


def test_two_writers_do_not_meet(tmp_path):
    path = tmp_path / "file.txt"
    with part_of(path) as one, part_of(path) as other:
        assert one.name != other.name
        one.write(b"1")
        other.write(b"2")
    assert path.read_bytes() == b"1"  # whoever ends last
    assert names(tmp_path) == ["file.txt"]


def test_leftovers_of_killed_writers_alone_are_removed(tmp_path):
    (tmp_path / ".model.pth.tar-1.0123456789abcdef.part").write_text("left")
    (tmp_path / ".link.0123456789abcdef.part").symlink_to(tmp_path / "mine")
    for name in ("mine", "mine.part", ".mine.part", ".mine.xyz.part"):
        (tmp_path / name).write_text("mine")
    remove_parts(tmp_path, "other", "m*x")
    assert len(names(tmp_path)) == 6
    remove_parts(tmp_path, "model*", "link")
    remove_parts(tmp_path / "nowhere")
    assert names(tmp_path) == [".mine.part", ".mine.xyz.part", "mine", "mine.part"]


INSIDE = ["a", "a/b.txt", "./a", "a//b", "a b/ü.png", "..a/b.."]
ELSEWHERE = [
    "",
    ".",
    "..",
    "../a",
    "a/../../b",
    "a/..",
    "/etc/x",
    "\\a",
    "..\\a",
    "C:\\a",
    "C:a",
    "//h/s",
    "a\0b",
    5,
    None,
]


def test_relative_paths_are_inside_and_others_are_not():
    assert [name for name in (*INSIDE, *ELSEWHERE) if is_inside(name)] == INSIDE
