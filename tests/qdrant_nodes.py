"""Starts Qdrant nodes for tests and tools, waits until they serve, and ends them; nobody else does.

The nodes of a cluster have a loopback address each and the same ports, as the pods of a headless Service do.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.processes import START_SECONDS, Program

ADDRESSES = ("127.0.0.11", "127.0.0.12", "127.0.0.13")
_STEP_BYTES = 1 << 20


class Node(Program):
    """One Qdrant. `settings` are Qdrant's own, without their prefix: SERVICE__API_KEY="..."."""

    def __init__(
        self, binary: str, folder: Path, host: str, ports: list[int], *peers: str, **settings: str
    ) -> None:
        http, grpc, p2p = ports
        self.scheme = "https" if settings.get("SERVICE__ENABLE_TLS") == "true" else "http"
        self.host, self.http, self.folder = host, http, folder / host
        self.key = settings.get("SERVICE__API_KEY", "")
        own = {
            "SERVICE__HOST": host,
            "SERVICE__HTTP_PORT": str(http),
            "SERVICE__GRPC_PORT": str(grpc),
            "CLUSTER__P2P__PORT": str(p2p),
            "CLUSTER__ENABLED": "true" if peers else "false",
            "STORAGE__STORAGE_PATH": str(self.folder / "storage"),
            "STORAGE__SNAPSHOTS_PATH": str(self.folder / "snapshots"),
            "TELEMETRY_DISABLED": "true",
        }
        variables = {f"QDRANT__{name}": value for name, value in {**own, **settings}.items()}
        super().__init__("qdrant", self.folder, [binary, *peers], variables, prefix="UNUSED", cwd=self.folder)

    def start(self, port: int = 0) -> Self:
        """Starts it and waits until it takes calls; on the ports that it always has."""
        begun = time.perf_counter()
        self.launch()
        try:
            self.becomes_ready()
        except BaseException:
            self.kill()
            raise
        self.seconds_to_serving = time.perf_counter() - begun
        return self

    def becomes_ready(self) -> None:
        """Waits until it says so; RuntimeError if it does not."""
        self._until(lambda: self._answers("/readyz"))

    def knows(self, peers: int) -> None:
        """Waits until it knows of as many nodes, itself among them, and of a leader."""
        self._until(lambda: self._peers() == peers)

    def rest(self, path: str, method: str = "GET", body: object = None, key: str | None = None) -> Any:
        """Calls its REST API; what the answer holds as its result."""
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "api-key": key or self.key}
        request = urllib.request.Request(self._url(path), data, headers, method=method)
        with urllib.request.urlopen(request, timeout=60, context=_any_certificate()) as answer:
            return json.loads(answer.read())["result"]

    def _url(self, path: str) -> str:
        return f"{self.scheme}://{self.host}:{self.http}{path}"

    def _answers(self, path: str) -> bool:
        try:
            with urllib.request.urlopen(self._url(path), timeout=2, context=_any_certificate()) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _peers(self) -> int:
        try:
            found = self.rest("/cluster")
        except OSError:
            return 0
        return len(found["peers"]) if found["raft_info"]["leader"] else 0

    def _until(self, holds: Callable[[], bool]) -> None:
        end = time.perf_counter() + START_SECONDS
        while not holds():
            if not self.alive():
                raise RuntimeError(f"qdrant has ended:\n{self.log_tail()}")
            if time.perf_counter() > end:
                raise RuntimeError(
                    f"qdrant at {self.host} is not ready after {START_SECONDS} s:\n{self.log_tail()}"
                )
            time.sleep(0.02)


class Nodes:
    """Qdrant on one node, or a cluster of up to three; as a context manager it is started and ended."""

    def __init__(self, binary: str, folder: Path, count: int = 1, **settings: str) -> None:
        ports = _free_ports()
        addresses = ADDRESSES[:count]
        uris = [f"http://{address}:{ports[2]}" for address in addresses]
        self.all = []
        for address, uri in zip(addresses, uris, strict=True):
            peers = ["--uri", uri] if count > 1 else []
            if uri != uris[0]:
                peers += ["--bootstrap", uris[0]]
            self.all.append(Node(binary, folder, address, ports, *peers, **settings))
        self.url = f"{self.all[0].scheme}://{','.join(addresses)}:{ports[0]}"
        self.grpc_port = ports[1]

    @property
    def search_settings(self) -> dict[str, str]:
        """What tells a search service to use them."""
        key = self.all[0].key
        return {
            "QDRANT_URL": self.url,
            "SEARCH_QDRANT_GRPC_PORT": str(self.grpc_port),
            **({"QDRANT_API_KEY": key} if key else {}),
        }

    def __enter__(self) -> Self:
        with ExitStack() as started:
            for node in self.all:
                started.callback(node.kill)
                node.start()
            for node in self.all:
                if len(self.all) > 1:
                    node.knows(len(self.all))
            self._kill = started.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for node in self.all:
            node.signal(signal.SIGCONT)
        self._kill.close()


def named() -> str:
    """What QDRANT in the environment names: a binary or a URL; "" = nothing."""
    return os.environ.get("QDRANT", "")


def _any_certificate() -> ssl.SSLContext:
    """For tests that ask a node of theirs for its state; the certificate is the subject of others."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _free_ports() -> list[int]:
    """Three, free at all addresses."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(3)]
        for one in sockets:
            one.bind(("", 0))
        return [one.getsockname()[1] for one in sockets]


def all_active(node: Node) -> bool:
    """Whether it takes calls and all copies of all shards, as it knows them, are active."""
    try:
        for collection in node.rest("/collections")["collections"]:
            state = node.rest(f"/collections/{collection['name']}/cluster")
            shards = [*state["local_shards"], *state["remote_shards"]]
            if state["shard_transfers"] or any(shard["state"] != "Active" for shard in shards):
                return False
    except OSError:
        return False
    return True


class SmallDisk:
    """A file system of its own for a folder, of so many megabytes; PermissionError where none may be made."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._filler = folder, folder / "filler"
        options = ["-t", "tmpfs", "-o", f"size={megabytes}m", "none", str(folder)]
        made = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
        if made.returncode:
            raise PermissionError(f"no file system of its own for {folder}: {made.stderr.strip()}")

    @contextmanager
    def full(self) -> Iterator[None]:
        """All that is free is taken while the block runs."""
        size = 0
        try:
            with self._filler.open("wb") as filler, suppress(OSError):  # until the disk has no more
                while True:
                    os.posix_fallocate(filler.fileno(), size, _STEP_BYTES)
                    size += _STEP_BYTES
            yield
        finally:
            self._filler.unlink(missing_ok=True)

    def close(self) -> None:
        """Lets it go, and what is on it."""
        subprocess.run(["umount", "--lazy", str(self._folder)], check=True)
