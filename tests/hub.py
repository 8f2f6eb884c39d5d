"""A small model hub on loopback: what huggingface_hub asks of the real one, over folders of one's own.

As on the real one, weights are behind a redirect to another address, a file's headers name its commit, and a
file that is not there is told from a repository that is not.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
_LARGE = (".bin", ".safetensors", ".msgpack", ".h5")
_FILE = re.compile(r"^/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)$")
_API = re.compile(
    r"^/api/models/(?P<repo>[^/?]+/[^/?]+)(?:/(?P<what>revision|tree)/(?P<revision>[^/?]+))?(?:\?.*)?$"
)


@dataclass
class Hub:
    """The folders in `root` by their ids, such as openai/clip.

    `refused`: status and error code by id. `cut`: a file whose first transfer breaks off after so many bytes.
    `fetched`: path and first byte of each transfer; `others`: what else is asked of a repository.
    """

    root: Path
    refused: dict[str, tuple[int, str]] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    fetched: list[tuple[str, int]] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    address: str = ""

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Its address (for HF_ENDPOINT), while the block runs."""
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            hub.address = f"http://127.0.0.1:{server.server_address[1]}"
            thread = threading.Thread(target=server.serve_forever, args=(0.05,))
            thread.start()
            try:
                yield hub.address
            finally:
                server.shutdown()
                thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        if match := _FILE.match(self.path):
            self._file(match["repo"], match["revision"], match["path"])
        elif self.path.startswith("/cdn/"):
            self._content(self.path.removeprefix("/cdn/"))
        elif match := _API.match(self.path):
            self._about(match["repo"], match["revision"] or "main", match["what"] == "tree")
        else:
            if self.path.startswith("/api/models/"):
                self.hub.others.append(self.path)
            self._refuse(404, "")

    def _file(self, repo: str, revision: str, name: str) -> None:
        if not self._may(repo, revision):
            return
        path = self.hub.root / repo / name
        if not path.is_file():
            self._refuse(404, "EntryNotFound")
        elif path.suffix in _LARGE:
            linked = {"X-Linked-Size": str(path.stat().st_size), "X-Linked-Etag": f'"{_sha256(path)}"'}
            self._send(302, {**linked, "Location": f"{self.hub.address}/cdn/{repo}/{name}"})
        else:
            self._content(f"{repo}/{name}")

    def _content(self, name: str) -> None:
        path = self.hub.root / name
        content, first, status = path.read_bytes(), 0, 200
        headers = {"ETag": f'"{_sha256(path)}"', "Accept-Ranges": "bytes"}
        if asked := re.match(r"bytes=(\d+)-$", self.headers.get("Range", "")):
            first, status = int(asked[1]), 206
            headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        if self.command == "GET":
            self.hub.fetched.append((name, first))
        most = self.hub.cut.pop(name, None) if self.command == "GET" else None
        self._send(status, headers, content[first:], most)

    def _about(self, repo: str, revision: str, tree: bool) -> None:
        if not self._may(repo, revision):
            return
        files = sorted((self.hub.root / repo).iterdir())
        about: object = {"id": repo, "sha": COMMIT, "siblings": [{"rfilename": path.name} for path in files]}
        if tree:
            about = [{"type": "file", "path": path.name} | _size_and_hash(path) for path in files]
        self._send(200, {"Content-Type": "application/json"}, json.dumps(about).encode())

    def _may(self, repo: str, revision: str) -> bool:
        if repo in self.hub.refused:
            self._refuse(*self.hub.refused[repo])
        elif not (self.hub.root / repo).is_dir():
            self._refuse(401, "RepoNotFound")
        elif revision not in ("main", COMMIT):
            self._refuse(404, "RevisionNotFound")
        else:
            return True
        return False

    def _refuse(self, status: int, code: str) -> None:
        self._send(status, {"X-Error-Code": code} if code else {})

    def _send(
        self, status: int, headers: dict[str, str], content: bytes = b"", most: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {"X-Repo-Commit": COMMIT, **headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[:most])
        if most is not None:
            self.close_connection = True


def _size_and_hash(path: Path) -> dict[str, object]:
    size, digest = path.stat().st_size, _sha256(path)
    lfs = {"lfs": {"oid": digest, "size": size, "pointerSize": 130}} if path.suffix in _LARGE else {}
    return {"size": size, "oid": digest[:40], **lfs}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
