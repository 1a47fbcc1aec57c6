"""What a server may say that is not the file: wrong lengths, web pages, other parts, too much. Nothing of it is kept, and what was there is."""

import hashlib
import http.server
import threading
from pathlib import Path

import pytest

from modprompt.data.prepare import download as module
from modprompt.data.prepare.download import download
from modprompt.errors import UserError

PAGE = b"\xef\xbb\xbf\n<!DOCTYPE html><html><title>Google Drive - Virus scan warning</title></html>"


class Answer(http.server.BaseHTTPRequestHandler):
    """Gives `server.answer`: (status, headers, body)."""

    def do_GET(self):
        status, headers, body = self.server.answer
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def refused(server, folder, *, status=200, body=b"content", digest="", part=None, kept=False, **headers):
    """The message of a download that ends so; it has left nothing but the part, if that is to be kept."""
    server.answer = status, {name.replace("_", "-"): value for name, value in headers.items()}, body
    if part is not None:
        (folder / "f.zip.part").write_bytes(part)
    url = f"http://127.0.0.1:{server.server_port}/f.zip"
    with pytest.raises(UserError) as raised:
        download(folder / "f.zip", url=url, digest=digest)
    assert "\n" not in str(raised.value)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == ({"f.zip.part": part} if kept else {})
    assert ("run again to resume it" in str(raised.value)) == kept
    assert str(raised.value).startswith("f.zip: ")
    assert f"fetch {url} by hand" in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("length", ["abc", "-1", "1.5", "0x10", "٣", "9" * 25, "1" * 5000, "7, 7"])
def test_length_that_is_no_number_is_refused(length, server, tmp_path):
    said = refused(server, tmp_path, Content_Length=length.encode().decode("latin-1"))
    assert "the server says that it sends '" in said
    assert len(said) < 400


def test_length_beyond_any_file_is_refused_at_once(server, tmp_path):
    assert "it has more than 400 GB" in refused(server, tmp_path, Content_Length="400000000001")


def test_endless_file_is_cut_off(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", 3 << 20)
    assert "which no data set's file has" in refused(server, tmp_path, body=bytes(5 << 20))


@pytest.mark.parametrize("body", [PAGE, b"<html>not found</html>", b"  <HEAD>", b"<script>location = 'there'</script>"])
@pytest.mark.parametrize("digest", ["", "md5:" + hashlib.md5(b"the file").hexdigest()])
def test_web_page_by_its_content_is_refused(body, digest, server, tmp_path):
    assert "what was sent is a web page" in refused(
        server, tmp_path, body=body, digest=digest, Content_Type="application/zip"
    )


@pytest.mark.parametrize("kind", ["text/html", "text/html; charset=utf-8", "TEXT/HTML", "application/xhtml+xml"])
def test_web_page_by_its_type_is_refused(kind, server, tmp_path):
    assert "sends a web page in place of the file" in refused(server, tmp_path, Content_Type=kind)


def test_digest_decides_over_the_type(server, tmp_path):
    server.answer = 200, {"Content-Type": "text/html", "Content-Length": "7"}, b"content"
    digest = "md5:" + hashlib.md5(b"content").hexdigest()
    download(tmp_path / "f", url=f"http://127.0.0.1:{server.server_port}/f", digest=digest)
    assert (tmp_path / "f").read_bytes() == b"content"


def test_empty_file_is_refused(server, tmp_path):
    assert "what was sent is empty" in refused(server, tmp_path, body=b"", Content_Length="0")


@pytest.mark.parametrize("part", ["bytes 0-6/7", "bytes 3-9/10", "lines 4-6/7"])
def test_other_part_than_was_asked_for_is_refused(part, server, tmp_path):
    said = refused(server, tmp_path, status=206, part=b"cont", kept=True, Content_Range=part)
    assert "was asked for what follows byte 4, and sends" in said


def test_part_of_another_file_is_refused_though_nothing_is_left_to_send(server, tmp_path):
    said = refused(server, tmp_path, status=416, part=b"too much content", Content_Range="bytes */7")
    assert "the part that is here has 16 bytes, the server's file 7" in said


def test_part_is_kept_though_the_server_has_less_to_say_than_its_size(server, tmp_path):
    said = refused(server, tmp_path, status=416, part=b"cont", kept=True, Content_Range="bytes */7")
    assert "the part that is here has 4 bytes, the server's file 7" in said


DIGEST = "md5:" + hashlib.md5(b"the file").hexdigest()
WRONG = {
    "page": {"body": PAGE},
    "page by its type": {"body": b"log in", "Content_Type": "text/html"},
    "empty": {"body": b""},
    "short": {"body": b"log", "Content_Length": "3"},
    "no number": {"Content_Length": "many"},
    "too large": {"Content_Length": "400000000001"},
}


@pytest.mark.parametrize("digest", ["", DIGEST])
@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_part_outlives_a_wrong_answer_and_is_gone_on_from(wrong, digest, server, tmp_path):
    refused(server, tmp_path, part=b"the ", digest=digest, kept=True, **wrong)
    server.answer = 206, {"Content-Range": "bytes 4-7/8", "Content-Length": "4"}, b"file"
    download(tmp_path / "f.zip", url=f"http://127.0.0.1:{server.server_port}/f.zip", digest=digest)
    assert (tmp_path / "f.zip").read_bytes() == b"the file"


def test_server_that_does_not_resume_sends_all_of_it(server, tmp_path):
    (tmp_path / "f.part").write_bytes(b"other")
    server.answer = 200, {"Content-Length": "8"}, b"the file"
    download(tmp_path / "f", url=f"http://127.0.0.1:{server.server_port}/f", digest=DIGEST)
    assert (tmp_path / "f").read_bytes() == b"the file"


def test_part_that_is_whole_is_taken(server, tmp_path):
    (tmp_path / "f.part").write_bytes(b"content")
    server.answer = 416, {"Content-Range": "bytes */7"}, b""
    download(tmp_path / "f", url=f"http://127.0.0.1:{server.server_port}/f")
    assert (tmp_path / "f").read_bytes() == b"content"


@pytest.mark.parametrize("content", [PAGE, b""])
def test_warning_page_of_google_drive_is_refused(content, tmp_path, monkeypatch):
    import gdown

    def hand_out(id, output, resume):
        Path(output).write_bytes(content)
        return output

    monkeypatch.setattr(gdown, "download", hand_out)
    with pytest.raises(
        UserError, match="f.json: what was sent is .*: removed; fetch https://drive.google.com/file/d/x"
    ):
        download(tmp_path / "f.json", drive="x")
    assert list(tmp_path.iterdir()) == []


def test_google_drive_that_writes_nothing_is_one_line(tmp_path, monkeypatch):
    import gdown

    monkeypatch.setattr(gdown, "download", lambda id, output, resume: output)
    with pytest.raises(UserError, match="f: Google Drive did not deliver it"):
        download(tmp_path / "f", drive="x")
