"""Downloads from a server on this machine that breaks off, lies, changes its file, or sends a page.

Whatever it does, an error is one line, and what is there is the whole file, a part to go on from, or nothing.
"""

import functools
import random
import sys
from pathlib import Path

import pytest

from modprompt.data.prepare.download import download
from modprompt.data.prepare.recipes import DRIVE
from modprompt.errors import UserError
from modprompt.io import lock
from tests.modprompt.data.prepare.conftest import CONTENT, md5

PAGE = b"\xef\xbb\xbf\n<!DOCTYPE html><html><title>Virus scan warning</title></html>"
PART = ["f.part", "f.part.version"]


def attempt(server, folder, digest=""):
    """The line of a download that fails; empty if it does not, and the file is the server's."""
    try:
        download(folder / "f", server.url("f"), digest)
    except UserError as error:
        line = str(error)
        assert "\n" not in line
        assert len(line) < 500
        assert line.startswith("The download of f failed: ")
        assert f"Run the command again to continue the download, or download {server.url('f')} by hand" in line
        assert line.endswith(f" and save it as {folder / 'f'}.")
        assert not (folder / "f").exists()
        return line
    assert (folder / "f").read_bytes() == server.files["f"]
    assert names(folder) == ["f"]
    return ""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_broken_download_is_resumed_where_it_broke_off(server, tmp_path):
    server.be(cut=1000)
    assert "1,000 of 5,120 bytes arrived" in attempt(server, tmp_path, md5(CONTENT))
    assert names(tmp_path) == PART
    server.be()
    assert attempt(server, tmp_path, md5(CONTENT)) == ""
    assert server.asked[-1] == ("f", "bytes=1000-")


@pytest.mark.parametrize("said", [{"version": '"2"'}, {"Content_Range": "bytes 7-9/10"}, {"Content_Range": "lines 1"}])
def test_server_that_sends_a_part_of_another_file_is_noticed(server, tmp_path, said):
    server.be(cut=1000)
    attempt(server, tmp_path)
    server.files["f"] = CONTENT[::-1]
    server.be(**{"believes": False, "version": '"1"', **said})
    assert "the file on the server has changed" in attempt(server, tmp_path)
    assert names(tmp_path) == PART[1:]
    server.be(version='"2"')
    assert attempt(server, tmp_path) == ""


def test_whole_part_of_a_killed_run_is_taken_and_a_longer_one_is_not(server, tmp_path):
    for content, said in ((CONTENT, ""), (CONTENT + b"x", "416")):
        (tmp_path / "f.part").write_bytes(content)
        (tmp_path / "f.part.version").write_text('"1"')
        assert said in attempt(server, tmp_path, md5(CONTENT))
        (tmp_path / "f").unlink(missing_ok=True)
    assert names(tmp_path) == PART[:1]
    assert attempt(server, tmp_path, md5(CONTENT)) == ""


@pytest.mark.parametrize(
    ("body", "said", "line"),
    [
        (PAGE, {}, "the server sent a web page instead of the file"),
        (b"log in", {"Content_Type": "text/html; charset=utf-8"}, "the server sent a web page"),
        (b" \n", {}, "the server sent an empty file"),
    ],
)
@pytest.mark.parametrize("part", [True, False])
def test_what_is_not_the_file_is_refused_and_a_part_outlives_it(server, tmp_path, body, said, line, part):
    if part:
        server.be(cut=1000)
        attempt(server, tmp_path)
    server.files["f"] = body
    server.be(version='"page"', **said)
    assert line in attempt(server, tmp_path)
    assert names(tmp_path) == PART * part
    server.files["f"] = CONTENT
    server.be()
    assert attempt(server, tmp_path) == ""


@pytest.mark.parametrize("length", ["abc", "-1", "1" * 5000, "3", "9999999999"])
def test_wrong_length_gives_no_wrong_file(server, tmp_path, length):
    server.be(Content_Length=length)
    assert attempt(server, tmp_path, md5(CONTENT[:-1]))
    server.be()
    assert attempt(server, tmp_path, md5(CONTENT)) == ""


def test_other_faults_are_one_line_and_leave_nothing(server, tmp_path):
    said = attempt(server, tmp_path, digest="md5:" + "0" * 32)
    assert f"its md5 is {md5(CONTENT)[4:]}, but the published md5 is {'0' * 32}. Run the command again" in said
    assert "the downloaded file was deleted, because" in said
    with pytest.raises(
        UserError, match=r"^The download of f failed: .*refused.*\. Run the command again to continue the download, or"
    ):
        download(tmp_path / "f", url="http://127.0.0.1:9/f")
    del server.files["f"]
    assert "404 Not Found" in attempt(server, tmp_path)
    assert names(tmp_path) == []
    server.files["f"] = CONTENT
    (tmp_path / "f.part").symlink_to("/dev/full")
    assert attempt(server, tmp_path)
    assert names(tmp_path) == PART[:1]


@pytest.mark.parametrize("seed", range(4))
def test_whatever_a_server_does_in_turn_the_file_is_right_in_the_end(server, tmp_path, seed):
    """A file without a known digest, which only what the server says of its version protects."""
    rng = random.Random(seed)
    served = '"1"'
    for version in range(12):
        if rng.random() < 0.4:
            server.files["f"] = bytes(rng.randrange(1, 256) for _ in range(rng.randrange(1, 4000)))
            served = f'"{version}"'
        odd = rng.choice([{}, {"Content_Type": "text/html"}, {"Content_Length": "abc"}, {"Content_Length": "99999"}])
        cut, resumes, believes = rng.choice([0, 7, 900]), rng.random() < 0.7, rng.random() < 0.7
        if odd == {"Content_Length": "abc"}:
            cut = None  # without a length nothing tells that it is cut off
        server.be(cut=cut, resumes=resumes, version=served, believes=believes, **odd)
        attempt(server, tmp_path)  # which compares
        (tmp_path / "f").unlink(missing_ok=True)
    server.be(version=served)
    assert not attempt(server, tmp_path) or attempt(server, tmp_path) == ""  # a part that is too long is given up first


def test_drive_files_come_through_gdown_and_failures_are_one_line(tmp_path, monkeypatch):
    import gdown

    def deliver(content, id, output, resume):
        if content is None:
            raise RuntimeError("too many users\nhave viewed it")
        if content:
            Path(output).write_bytes(content)

    target, by_hand = (
        tmp_path / "g",
        r"Run the command again to continue the download, or download https://drive.google.com/file/d/xyz by hand",
    )
    for content, said in (
        (None, "too many users have viewed it"),
        (PAGE, "the server sent a web page instead of the file"),
        (b"", "Google Drive did not send the file"),
    ):
        monkeypatch.setattr(gdown, "download", functools.partial(deliver, content))
        with pytest.raises(UserError, match=f"^The download of g failed: {said}. {by_hand}"):
            download(target, DRIVE + "xyz")
        assert names(tmp_path) == []
    monkeypatch.setattr(gdown, "download", functools.partial(deliver, CONTENT))
    download(target, DRIVE + "xyz", digest=md5(CONTENT))
    assert target.read_bytes() == CONTENT
    target.unlink()
    monkeypatch.setitem(sys.modules, "gdown", None)
    with pytest.raises(
        UserError, match=rf"files on Google Drive need the package gdown \(run `pip install gdown`\)\. {by_hand}"
    ):
        download(target, DRIVE + "xyz")


@pytest.mark.slow
def test_second_download_into_a_folder_is_told_and_a_finished_one_is_taken(server, tmp_path):
    said = "Another process is downloading into .*"
    with lock.alone(tmp_path / ".lock", "taken"), pytest.raises(UserError, match=said):
        download(tmp_path / "f", url=server.url("f"))
    (tmp_path / "f").write_bytes(b"there already")
    download(tmp_path / "f", url=server.url("f"))
    assert (tmp_path / "f").read_bytes() == b"there already"
    assert server.asked == []
