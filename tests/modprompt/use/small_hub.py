"""A small hub on this machine that takes commits; what it does not show stands in tests/modprompt/clip/test_hub.py."""

import base64
import hashlib
import json
import os
from urllib.parse import unquote

import pytest

from tests.modprompt.clip.test_hub import MEANT, Hub

FIRST = "12" * 20


class WritableHub(Hub):
    """One repository, not there at first; whoever has the token may write.

    `refused` is (path's part, status, body) of a request that fails.
    """

    token = "hf_secretsecretsecret"

    def __init__(self):
        super().__init__()
        self.repo, self.private, self.commits, self.refused = "", False, [], ("nowhere", 500, b"")
        self.refs, self.files = {}, {}

    def answer(self, path):
        if path.startswith("/api/models/") and path.count("/") == 4:
            path += "/revision/main"
        if self.refused[0] in path:
            return self.refused[1], {}, self.refused[2]
        if not path.startswith(("/api/models/", "/owner/")):
            return 404, {}, b""
        status, headers, body = super().answer(path)
        if status == 200 and path.startswith("/api/models/"):
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
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    # what HF_ENDPOINT says when the package is imported
    monkeypatch.setattr(constants, "ENDPOINT", found.address)
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{found.address}/{template.split('/', 3)[3]}")
    try:
        yield found
    finally:
        found.close()
