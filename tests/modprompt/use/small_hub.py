"""A small hub on this machine: one repository, which takes commits.

What it does not show: TLS and proxies, storage by Xet, renamed repositories, limits of requests, large files.
"""

import base64
import hashlib
import http.server
import json
import os
import threading
from urllib.parse import unquote

import pytest

FIRST = "12" * 20
MEANT = ("HF_", "HUGGINGFACE", "TRANSFORMERS_OFFLINE", "XDG_CACHE_HOME")


class Hub:
    """One repository's newest commit and {commit: {file: bytes}}, not there at first; whoever has the token writes.

    `refused` is (path's part, status, body) of requests that fail.
    """

    token = "hf_secretsecretsecret"

    def __init__(self):
        self.repo, self.main, self.files = "", "", {}
        self.private, self.asked, self.commits, self.refused = False, [], [], ("nowhere", 500, b"")
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler_of(self))
        self.server.daemon_threads = False  # all are waited for
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self):
        if self.thread.is_alive():
            self.server.shutdown()
            self.thread.join()
            self.server.server_close()

    def get(self, path):
        """(status, headers, bytes)"""
        parts = [unquote(part) for part in path.strip("/").split("/")]
        if parts[:2] == ["api", "models"]:
            return self._info("/".join(parts[2:4]), *parts[4:6])
        commit = parts[3] if len(parts) > 4 and "/".join(parts[:2]) == self.repo else ""
        content = self.files.get(commit, {}).get("/".join(parts[4:]))
        if content is None:
            return 404, {"X-Error-Code": "EntryNotFound"}, b""
        return 200, {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha1(content).hexdigest()}"'}, content

    def _info(self, repo, what="revision", revision="main"):
        if repo != self.repo:
            return 404, {"X-Error-Code": "RepoNotFound"}, b""
        commit = self.main if revision == "main" else revision
        if commit not in self.files:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        if what == "tree":
            files = self.files[commit]
            entries = [{"type": "file", "path": one, "size": len(files[one]), "oid": "0" * 40} for one in files]
            return 200, {}, json.dumps(entries).encode()
        facts = {"_id": "1", "id": repo, "modelId": repo, "sha": commit, "private": self.private, "tags": []}
        siblings = [{"rfilename": name} for name in self.files[commit]]
        return 200, {}, json.dumps({**facts, "downloads": 0, "likes": 0, "siblings": siblings}).encode()

    def post(self, path, body, token):
        """(status, answer) of a request that writes."""
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if token != f"Bearer {self.token}":
            return 401, {"error": "Invalid username or password."}
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if "/preupload/" in path:
            names = [file["path"] for file in json.loads(body)["files"]]
            return 200, {"files": [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]}
        return self._commit([json.loads(line) for line in body.splitlines()])

    def _create(self, asked):
        repo = f"{asked['organization']}/{asked['name']}"
        if self.repo:
            return 409, {"url": f"{self.address}/{repo}", "error": "You already created this model repo"}
        self.repo, self.private = repo, bool(asked.get("private"))
        self.main, self.files[FIRST] = FIRST, {".gitattributes": b""}
        return 200, {"url": f"{self.address}/{repo}"}

    def _commit(self, lines):
        files = dict(self.files[self.main])
        for line in lines:
            if line["key"] == "file":
                files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "deletedFile":
                files.pop(line["value"]["path"])
        commit = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.main, self.files[commit] = commit, files
        self.commits.append(commit)
        return 200, {"commitUrl": f"{self.address}/{self.repo}/commit/{commit}", "commitOid": commit}


def body_of(request):
    if request.headers.get("Transfer-Encoding", "") != "chunked":
        return request.rfile.read(int(request.headers.get("Content-Length", 0)))
    parts = []
    while size := int(request.rfile.readline(), 16):
        parts.append(request.rfile.read(size))
        request.rfile.readline()
    request.rfile.readline()
    return b"".join(parts)


def handler_of(hub):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self._answer(hub.get)

        do_HEAD = do_GET

        def do_POST(self):
            body, token = body_of(self), self.headers.get("Authorization", "")

            def post(path):
                status, answer = hub.post(path, body, token)
                return status, {"Content-Type": "application/json"}, json.dumps(answer).encode()

            self._answer(post)

        def _answer(self, ask):
            path = unquote(self.path.partition("?")[0])
            hub.asked.append(f"{self.command} {path}")
            part, status, content = hub.refused
            status, headers, content = (status, {}, content) if part in path else ask(path)
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def log_message(self, *_):
            pass

    return Handler


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub that the environment names, with its token; nothing of another one."""
    constants = pytest.importorskip("huggingface_hub.constants")
    for name in [name for name in os.environ if name.startswith(MEANT)]:
        monkeypatch.delenv(name)
    found = Hub()
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
