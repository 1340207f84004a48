"""A hub on 127.0.0.1 whose repositories are folders: one subfolder per commit, and `refs.json`."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote


class Hub:
    """The repositories below a folder, and all requests that were made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requests: list[str] = []
        self.objects: dict[str, bytes] = {}
        self.refused = 0  # if not 0, the status of every answer
        self.address = ""

    def create(self, name: str, private: bool = False) -> None:
        """Create a repository with an empty first commit."""
        repository = self.folder / name
        repository.mkdir(parents=True)
        (repository / "private").write_text(str(private))
        self.commit(name, "main", {".gitattributes": b"*.safetensors filter=lfs\n"})

    def refs(self, name: str) -> dict[str, str]:
        file = self.folder / name / "refs.json"
        return json.loads(file.read_text()) if file.exists() else {}

    def set_ref(self, name: str, branch: str, commit: str) -> None:
        (self.folder / name / "refs.json").write_text(
            json.dumps({**self.refs(name), branch: commit})
        )

    def commit(
        self, name: str, branch: str, files: dict[str, bytes], removed: tuple[str, ...] = ()
    ) -> str:
        """Add a commit to a branch; returns its hash."""
        before = self.refs(name).get(branch)
        text = f"{before} {[(n, hashlib.sha1(c).hexdigest()) for n, c in files.items()]} {removed}"
        commit = hashlib.sha1(text.encode()).hexdigest()
        folder = self.folder / name / commit
        if before is None:
            folder.mkdir()
        else:
            shutil.copytree(self.folder / name / before, folder)
        for path, content in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        for path in removed:
            (folder / path).unlink()
        self.set_ref(name, branch, commit)
        return commit

    def files(self, name: str, commit: str) -> list[str]:
        folder = self.folder / name / commit
        return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@contextmanager
def serving(folder: Path) -> Iterator[Hub]:
    hub = Hub(folder)
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer_safely()

    do_HEAD = do_POST = do_PUT = do_GET

    def _answer_safely(self) -> None:
        self.body = self._read()
        self.hub.requests.append(f"{self.command} {unquote(self.path)}")
        if self.hub.refused:
            self._send(self.hub.refused, {"error": "no"})
            return
        parts = unquote(self.path).split("?")[0].strip("/").split("/")
        if parts[0] == "api":
            self._api(parts[1:])
        elif parts[0] == "objects":
            self.hub.objects[parts[1]] = self.body
            self._send(200, {})
        elif parts[2:3] == ["resolve"]:
            self._file("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        else:  # where large files are to be put
            put = f"{self.hub.address}/objects/"
            objects = [
                {**each, "actions": {"upload": {"href": put + each["oid"]}}}
                for each in json.loads(self.body)["objects"]
            ]
            self._send(200, {"transfer": "basic", "objects": objects})

    def _read(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _api(self, parts: list[str]) -> None:
        if parts == ["validate-yaml"]:
            self._send(200, {"errors": [], "warnings": []})
            return
        if parts == ["repos", "create"]:
            asked = json.loads(self.body)
            name = f"{asked['organization']}/{asked['name']}"
            is_private = bool(asked.get("private")) or asked.get("visibility") == "private"
            self.hub.create(name, is_private)
            self._send(200, {"url": f"{self.hub.address}/{name}"})
            return
        name, rest = "/".join(parts[1:3]), parts[3:]
        if not (self.hub.folder / name).is_dir():
            self._send(404, {"error": "none"}, {"X-Error-Code": "RepoNotFound"})
        elif not rest or rest[0] == "revision":
            self._info(name, rest[1] if rest else "main")
        elif rest[0] == "preupload":
            files = [each["path"] for each in json.loads(self.body)["files"]]
            modes = [("lfs" if f.endswith(".safetensors") else "regular", f) for f in files]
            content = [{"path": f, "uploadMode": m, "shouldIgnore": False} for m, f in modes]
            self._send(200, {"files": content})
        elif rest[0] == "branch":
            self.hub.set_ref(name, rest[1], self.hub.refs(name)["main"])
            self._send(200, {})
        elif rest[0] == "commit":
            self._commit(name, rest[1])

    def _resolved(self, name: str, revision: str) -> str | None:
        commit = self.hub.refs(name).get(revision, revision)
        return commit if (self.hub.folder / name / commit).is_dir() else None

    def _info(self, name: str, revision: str) -> None:
        commit = self._resolved(name, revision)
        if commit is None:
            self._send(404, {"error": "none"}, {"X-Error-Code": "RevisionNotFound"})
            return
        siblings = [{"rfilename": each} for each in self.hub.files(name, commit)]
        is_private = (self.hub.folder / name / "private").read_text() == "True"
        content = {"id": name, "sha": commit, "private": is_private, "siblings": siblings}
        self._send(200, content)

    def _commit(self, name: str, branch: str) -> None:
        files, removed = dict[str, bytes](), list[str]()
        for line in self.body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                files[value["path"]] = self.hub.objects[value["oid"]]
            elif item["key"] == "deletedFile":
                removed.append(value["path"])
        commit = self.hub.commit(name, branch, files, tuple(removed))
        url = f"{self.hub.address}/{name}/commit/{commit}"
        self._send(200, {"success": True, "commitOid": commit, "commitUrl": url})

    def _file(self, name: str, revision: str, path: str) -> None:
        commit = self._resolved(name, revision)
        file = self.hub.folder / name / str(commit) / path
        content = file.read_bytes()
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        self._send(200, content, {"X-Repo-Commit": str(commit), "ETag": etag})

    def _send(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for key, value in {**(headers or {}), "Content-Length": str(len(data))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
