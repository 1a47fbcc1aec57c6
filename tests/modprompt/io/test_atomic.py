import os
from pathlib import Path

import pytest

from modprompt.io.atomic import names_of_parts, part_of, remove_parts


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
    remove_parts(tmp_path)
    remove_parts(tmp_path / "nowhere")
    assert names(tmp_path) == [
        ".link.0123456789abcdef.part", ".mine.part", ".mine.xyz.part", "mine", "mine.part",
    ]  # fmt: skip


def test_names_of_files_that_are_being_written(tmp_path):
    assert names_of_parts(tmp_path / "none") == set()
    with part_of(tmp_path / "one.npz"), part_of(tmp_path / "one.npz"), part_of(tmp_path / "other"):
        (tmp_path / "whole").write_text("mine")
        assert names_of_parts(tmp_path) == {"one.npz", "other"}
