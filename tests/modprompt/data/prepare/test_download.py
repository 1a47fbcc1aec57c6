"""Downloads from a server on this machine that breaks off, lies, changes its file, or sends a page.

Whatever it does, an error is one line, and what is there is the whole file, a part to go on from, or nothing.
"""

import contextlib
import random
import sys
from pathlib import Path

import pytest

from modprompt.data.prepare.download import download
from modprompt.errors import UserError
from modprompt.io import lock
from tests.modprompt.data.prepare.conftest import CONTENT, md5

PAGE = b"\xef\xbb\xbf\n<!DOCTYPE html><html><title>Virus scan warning</title></html>"


def refusal(server, folder, digest="", kept=()):
    """The line of a download that fails; of it there is nothing left but what is `kept`."""
    with pytest.raises(UserError) as raised:
        download(folder / "f", url=server.url("f"), digest=digest)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 500
    assert str(raised.value).startswith("f: ")
    assert f"fetch {server.url('f')} by hand and put it at {folder / 'f'}" in str(raised.value)
    assert sorted(path.name for path in folder.iterdir()) == sorted(kept)
    return str(raised.value)


PART = ("f.part", "f.part.version")


def test_broken_download_is_resumed_where_it_broke_off(server, tmp_path):
    server.be(cut=1000)
    said = refusal(server, tmp_path, md5(CONTENT), PART)
    assert "the download broke off (1,000 of 5,120 bytes arrived); run again" in said
    server.be()
    download(tmp_path / "f", url=server.url("f"), digest=md5(CONTENT))
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert server.asked[-1] == ("f", "bytes=1000-")
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def broken_off(server, folder):
    server.be(cut=1000)
    refusal(server, folder, kept=PART)
    server.be()


@pytest.mark.parametrize(
    "said", [{"version": '"2"'}, {"Content_Range": "bytes 7-9/10"}, {"Content_Range": "lines 1-2"}]
)
def test_server_that_sends_a_part_of_another_file_is_noticed(server, tmp_path, said):
    broken_off(server, tmp_path)
    server.files["f"] = CONTENT[::-1]
    server.be(**{"believes": False, "version": '"1"', **said})
    assert "the server's file has changed" in refusal(server, tmp_path, kept=PART[1:])
    server.be(version='"2"')
    download(tmp_path / "f", url=server.url("f"))
    assert (tmp_path / "f").read_bytes() == CONTENT[::-1]


def test_whole_part_of_a_killed_run_is_taken_and_a_longer_one_is_not(server, tmp_path):
    for content in (CONTENT, CONTENT + b"x"):
        (tmp_path / "f.part").write_bytes(content)
        (tmp_path / "f.part.version").write_text('"1"')
        if content == CONTENT:
            download(tmp_path / "f", url=server.url("f"), digest=md5(CONTENT))
            (tmp_path / "f").unlink()
    assert "416" in refusal(server, tmp_path, kept=["f.part"])
    download(tmp_path / "f", url=server.url("f"), digest=md5(CONTENT))


@pytest.mark.parametrize(
    ("body", "said", "line"),
    [
        (PAGE, {}, "a web page was sent in place of the file"),
        (b"log in", {"Content_Type": "text/html; charset=utf-8"}, "a web page was sent"),
        (b" \n", {}, "what was sent is empty"),
    ],
)
@pytest.mark.parametrize("part", [True, False])
def test_what_is_not_the_file_is_refused_and_a_part_outlives_it(server, tmp_path, body, said, line, part):
    if part:
        broken_off(server, tmp_path)
    server.files["f"] = body
    server.be(version='"page"', **said)
    assert line in refusal(server, tmp_path, kept=PART if part else ())
    server.files["f"] = CONTENT
    server.be()
    download(tmp_path / "f", url=server.url("f"))
    assert (tmp_path / "f").read_bytes() == CONTENT


@pytest.mark.parametrize("length", ["abc", "-1", "1" * 5000, "7, 7", "3", "9999999999"])
def test_wrong_length_gives_no_wrong_file(server, tmp_path, length):
    server.be(Content_Length=length)
    with pytest.raises(UserError) as raised:
        download(tmp_path / "f", url=server.url("f"), digest=md5(CONTENT[:-1]))
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "f").exists()
    server.be()
    download(tmp_path / "f", url=server.url("f"), digest=md5(CONTENT))
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_wrong_digest_is_removed_and_named(server, tmp_path):
    said = refusal(server, tmp_path, digest="md5:" + "0" * 32)
    assert f"md5 is {md5(CONTENT)[4:]}, published is {'0' * 32}: removed; run again" in said


@pytest.mark.parametrize("seed", range(6))
def test_whatever_a_server_does_in_turn_the_file_is_right_in_the_end(server, tmp_path, seed):
    """A file without a known digest, which only what the server says of its version protects."""
    rng = random.Random(seed)
    for version in range(12):
        if rng.random() < 0.4:
            server.files["f"] = bytes(rng.randrange(1, 256) for _ in range(rng.randrange(1, 4000)))
            served = f'"{version}"'
        else:
            served = getattr(server, "served", '"1"')
        server.served = served
        odd = rng.choice([{}, {"Content_Type": "text/html"}, {"Content_Length": "abc"}, {"Content_Length": "99999"}])
        server.be(
            cut=rng.choice([0, 7, 900]), resumes=rng.random() < 0.7, version=served, believes=rng.random() < 0.7, **odd
        )
        if odd == {"Content_Length": "abc"}:
            server.cut = None  # without a length nothing tells that it is cut off
        with contextlib.suppress(UserError):
            download(tmp_path / "f", url=server.url("f"))
        if (tmp_path / "f").exists():
            assert (tmp_path / "f").read_bytes() == server.files["f"]
            (tmp_path / "f").unlink()
    for _ in range(2):  # a part that is longer than the file is given up first
        server.be(version=server.served)
        with contextlib.suppress(UserError):
            download(tmp_path / "f", url=server.url("f"))
    assert (tmp_path / "f").read_bytes() == server.files["f"]


def test_server_that_is_not_there_and_a_disk_that_is_full_are_one_line(server, tmp_path):
    with pytest.raises(UserError, match=r"^f: the download broke off \(.*refused.*\); run again to resume, or fetch"):
        download(tmp_path / "f", url="http://127.0.0.1:9/f")
    del server.files["f"]
    assert "(404 Not Found)" in refusal(server, tmp_path)
    server.files["f"] = CONTENT
    (tmp_path / "f.part").symlink_to("/dev/full")
    refusal(server, tmp_path, kept=["f.part"])


def test_drive_files_come_through_gdown_and_failures_are_one_line(tmp_path, monkeypatch):
    import gdown

    by_hand = "run again, or fetch https://drive.google.com/file/d/xyz by hand and put it at"
    target = tmp_path / "g"

    def too_many(id, output, resume):
        raise RuntimeError("too many users\nhave viewed it")

    for hand_out, said in (
        (too_many, "too many users have viewed it"),
        (lambda id, output, resume: Path(output).write_bytes(PAGE), "a web page was sent in place of the file"),
        (lambda id, output, resume: None, "Google Drive did not deliver it"),
    ):
        monkeypatch.setattr(gdown, "download", hand_out)
        with pytest.raises(UserError, match=f"^g: {said}; {by_hand}"):
            download(target, drive="xyz")
        assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(gdown, "download", lambda id, output, resume: Path(output).write_bytes(CONTENT))
    download(target, drive="xyz", digest=md5(CONTENT))
    assert target.read_bytes() == CONTENT
    target.unlink()
    monkeypatch.setitem(sys.modules, "gdown", None)
    with pytest.raises(UserError, match="g: files on Google Drive need gdown: pip install gdown; run again, or fetch"):
        download(target, drive="xyz")


@pytest.mark.slow
def test_second_download_into_a_folder_is_told_and_a_finished_one_is_taken(server, tmp_path):
    said = "another download into .* is running"
    with lock.alone(tmp_path / ".lock", "taken"), pytest.raises(UserError, match=said):
        download(tmp_path / "f", url=server.url("f"))
    (tmp_path / "f").write_bytes(b"there already")
    download(tmp_path / "f", url=server.url("f"))
    assert (tmp_path / "f").read_bytes() == b"there already"
    assert server.asked == []
