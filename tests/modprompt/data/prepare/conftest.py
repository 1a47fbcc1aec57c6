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
        start = 0
        if wanted and server.resumes and (if_range == server.version or not server.believes):
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
        said = {"Content-Length": str(len(body) - start), "ETag": server.version}
        if start >= len(body) > 0:
            status, said, start = 416, {"Content-Range": f"bytes */{len(body)}", "Content-Length": "0"}, len(body)
        else:
            status = 206 if start else 200
            said |= {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"} if start else {}
        said |= {name.replace("_", "-"): value for name, value in server.headers.items()}
        self.send_response(status)
        for name, value in said.items():
            if value is not None:
                self.send_header(name, value)
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
