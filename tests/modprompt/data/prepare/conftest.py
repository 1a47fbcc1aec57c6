"""A server on this machine that does what a test says."""

import hashlib
import http.server
import threading

import pytest

CONTENT = bytes(range(256)) * 20


class Server(http.server.ThreadingHTTPServer):
    """Serves `files` with ranges; `headers` replaces what it would say, `cut` ends a body early."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.asked = {}, []
        self.be()

    def be(self, cut=None, resumes=True, version='"1"', believes=True, **headers):
        self.cut, self.resumes, self.version, self.believes, self.headers = cut, resumes, version, believes, headers

    def url(self, name):
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, body = self.server, self.server.files.get(self.path[1:])
        wanted, if_range = self.headers.get("Range"), self.headers.get("If-Range")
        server.asked.append((self.path[1:], wanted))
        if body is None:
            return self.send_error(404)
        resumes = wanted and server.resumes and (if_range == server.version or not server.believes)
        start = min(int(wanted.removeprefix("bytes=").rstrip("-")), len(body)) if resumes else 0
        said = {"Content_Length": len(body) - start, "ETag": server.version}
        whole = start == len(body) > 0
        if start:
            part = "*" if whole else f"{start}-{len(body) - 1}"
            said["Content_Range"] = f"bytes {part}/{len(body)}"
        self.send_response(416 if whole else 206 if start else 200)
        for name, value in {**said, **server.headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body[start:][: server.cut])
        self.close_connection = True

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        server.files["f"] = CONTENT
        yield server
        server.shutdown()
        thread.join()


def md5(content):
    return "md5:" + hashlib.md5(content).hexdigest()
