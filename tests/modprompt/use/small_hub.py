"""A small hub on this machine that takes commits.

What it does not show: TLS and proxies, storage by Xet, renamed repositories, limits of requests, files as large as weights.
"""

import base64
import hashlib
import http.server
import json
import os
import threading
from urllib.parse import unquote, urlsplit

import pytest

FIRST = "12" * 20
MEANT = ("HF_", "HUGGINGFACE", "TRANSFORMERS_OFFLINE", "XDG_CACHE_HOME")


class Hub:
    """A small hub: {revision: commit} and {commit: {file: bytes}} of one repository; it counts what it is asked."""

    def __init__(self):
        self.repo, self.refs, self.files = "", {}, {}
        self.asked = []
        self.gated = False
        self.page = None  # (status, bytes) for everything
        self.sent = {}  # bytes that stand in for those of a file
        # large files come from another address, as they do from the hub
        self.servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler()) for _ in range(2)]
        self.threads = []
        for server in self.servers:
            server.daemon_threads = False  # all are waited for
            self.threads.append(threading.Thread(target=server.serve_forever, args=(0.01,)))
            self.threads[-1].start()
        self.address, self.store = (f"http://127.0.0.1:{server.server_address[1]}" for server in self.servers)

    def close(self):
        for server, thread in zip(self.servers, self.threads):
            if thread.is_alive():
                server.shutdown()
                thread.join()
                server.server_close()

    def answer(self, path):
        """(status, headers, bytes)"""
        if self.page:
            return self.page[0], {}, self.page[1]
        parts = [unquote(part) for part in path.strip("/").split("/")]
        if parts[:2] == ["api", "models"] and parts[4] == "tree":
            files = self.files.get(self.refs.get(parts[5], ""), {})
            entries = [{"type": "file", "path": one, "size": len(files[one]), "oid": "0" * 40} for one in files]
            return 200, {}, json.dumps(entries).encode()
        if parts[:2] == ["api", "models"]:
            return self._info("/".join(parts[2:4]), parts[5])
        if len(parts) == 1:
            content = {sha256(one): one for files in self.files.values() for one in files.values()}[parts[0]]
            return 200, {}, self.sent.get(content, content)
        return self._file("/".join(parts[:2]), parts[3], "/".join(parts[4:]))

    def _info(self, repo, revision):
        if repo != self.repo:
            return 404, {"X-Error-Code": "RepoNotFound"}, b""
        commit = self.refs.get(revision)
        if commit is None:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        facts = {"_id": "1", "id": repo, "modelId": repo, "sha": commit, "private": False, "downloads": 0, "likes": 0}
        siblings = [{"rfilename": name} for name in self.files[commit]]
        return 200, {}, json.dumps({**facts, "tags": [], "siblings": siblings}).encode()

    def _file(self, repo, commit, name):
        content = self.files.get(commit, {}).get(name)
        if self.gated:
            return 403, {"X-Error-Code": "GatedRepo"}, b""
        if repo != self.repo or content is None:
            return 404, {"X-Error-Code": "EntryNotFound"}, b""
        headers = {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha1(content).hexdigest()}"'}
        if not name.endswith(".safetensors"):
            return 200, headers, content
        linked = {"X-Linked-Etag": f'"{sha256(content)}"', "X-Linked-Size": str(len(content))}
        return 302, {**headers, **linked, "Location": f"{self.store}/{sha256(content)}"}, b""

    def _handler(hub):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                path = urlsplit(self.path).path
                hub.asked.append(f"{self.command} {unquote(path)}")
                status, headers, content = hub.answer(path)
                start = int(self.headers.get("Range", "bytes=0-")[len("bytes=") :].split("-")[0])
                if start and status == 200:  # goes on with what was cut off, as older huggingface_hub does
                    headers = {**headers, "Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
                    status, content = 206, content[start:]
                self.send_response(status)
                for key, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(key, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(content)

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        return Handler


def sha256(content):
    return hashlib.sha256(content).hexdigest()


class WritableHub(Hub):
    """One repository, not there at first; whoever has the token may write.

    `refused` is (path's part, status, body) of a request that fails.
    """

    token = "hf_secretsecretsecret"

    def __init__(self):
        super().__init__()
        self.private, self.commits, self.refused = False, [], ("nowhere", 500, b"")

    def answer(self, path):
        if path.startswith("/api/models/") and path.count("/") == 4:
            path += "/revision/main"
        if self.refused[0] in path:
            return self.refused[1], {}, self.refused[2]
        if not path.startswith(("/api/models/", "/owner/")):
            return 404, {}, b""
        status, headers, body = super().answer(path)
        if status == 200 and path.startswith("/api/models/") and "/tree/" not in path:
            body = json.dumps({**json.loads(body), "private": self.private}).encode()
        return status, headers, body

    def post(self, path, body, token):
        """(status, answer) of a request that writes."""
        if self.refused[0] in path:
            return self.refused[1:]
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if token != f"Bearer {self.token}":
            return 401, {"error": "Invalid username or password."}
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if "/preupload/" in path:
            files = [
                {"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                for one in json.loads(body)["files"]
            ]
            return 200, {"files": files}
        return self._commit([json.loads(line) for line in body.splitlines()])

    def _create(self, asked):
        repo = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
        if self.repo:
            return 409, {"url": f"{self.address}/{repo}", "error": "You already created this model repo"}
        self.repo, self.private = repo, bool(asked.get("private"))
        self._enter(FIRST, {".gitattributes": b""})
        return 200, {"url": f"{self.address}/{repo}"}

    def _enter(self, commit, files):
        self.files[commit] = files
        self.refs.update({"main": commit, commit: commit})

    def _commit(self, lines):
        files = dict(self.files[self.refs["main"]])
        for line in lines:
            if line["key"] == "file":
                files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "deletedFile":
                files.pop(line["value"]["path"])
        commit = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self._enter(commit, files)
        self.commits.append(commit)
        return 200, {"commitUrl": f"{self.address}/{self.repo}/commit/{commit}", "commitOid": commit}

    def _handler(hub):
        class Handler(Hub._handler(hub)):
            def do_POST(self):
                body = self._body()
                path = unquote(self.path.partition("?")[0])
                hub.asked.append(f"POST {path}")
                status, answer = hub.post(path, body, self.headers.get("Authorization", ""))
                content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def _body(self):
                if self.headers.get("Transfer-Encoding", "") != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length", 0)))
                parts = []
                while size := int(self.rfile.readline(), 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)

        return Handler


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub that the environment names, with its token; nothing of another one."""
    constants = pytest.importorskip("huggingface_hub.constants")
    for name in [name for name in os.environ if name.startswith(MEANT)]:
        monkeypatch.delenv(name)
    found = WritableHub()
    monkeypatch.setenv("HF_TOKEN", found.token)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    # what HF_ENDPOINT says when the package is imported
    monkeypatch.setattr(constants, "ENDPOINT", found.address)
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{found.address}/{template.split('/', 3)[3]}")
    try:
        yield found
    finally:
        found.close()
