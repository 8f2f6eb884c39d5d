"""The server itself, on a socket: what slow and broken browsers do to it."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
import uvicorn

from clipsearch.search.v1 import search_pb2
from clipsearch.web import server as web_server
from clipsearch.web.app import create_app
from clipsearch.web.server import HeadTimeoutProtocol, listen
from clipsearch.web.settings import Side, WebSettings
from tests.waiting import HANGS_S

BODY = json.dumps({"collection": "c", "terms": [{"image": "AAAA"}]})


class Slow:
    """Searches until it is cancelled."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.cancelled = threading.Event()

    def search(self, method, request, context):
        context.add_callback(self.cancelled.set)
        self.began.set()
        self.cancelled.wait(HANGS_S)
        return search_pb2.SearchResponse()


@pytest.fixture
def slow(told, monkeypatch) -> Slow:
    slow = Slow()
    monkeypatch.setattr(told, "_answer", slow.search)
    return slow


@pytest.fixture
def at(told, slow) -> Iterator[tuple[str, int]]:
    """Where a server listens, in front of a slow service."""
    listener = listen("127.0.0.1", 0)
    app = create_app(WebSettings({"a": Side(told.address, "127.0.0.1:9")}))
    config = uvicorn.Config(app, http=HeadTimeoutProtocol, lifespan="on", log_config=None, log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield listener.getsockname()
    server.should_exit = True
    thread.join(HANGS_S)
    assert not thread.is_alive()


def ask(at, *, method="POST", path="/api/search", body=BODY) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection(*at, timeout=HANGS_S)
    connection.request(method, path, body, {"content-type": "application/json"})
    return connection


def test_a_browser_that_leaves_cancels_its_search(at, slow):
    connection = ask(at)
    assert slow.began.wait(HANGS_S)
    assert not slow.cancelled.is_set()
    connection.close()
    assert slow.cancelled.wait(HANGS_S)


def until_closed(connection: socket.socket) -> None:
    connection.settimeout(HANGS_S)
    while connection.recv(65536):
        pass


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: 127", b"POST /x HTTP/1.1\r\n"])
def test_a_head_that_never_ends_is_not_waited_for(at, sent, monkeypatch):
    monkeypatch.setattr(web_server, "HEAD_S", 0.3)
    with socket.create_connection(at) as connection:
        connection.sendall(sent)
        until_closed(connection)


def test_nor_one_that_comes_byte_by_byte_after_an_answer(at, monkeypatch):
    with socket.create_connection(at) as connection:
        connection.sendall(b"GET /nothing HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 404")
        monkeypatch.setattr(web_server, "HEAD_S", 1)
        connection.settimeout(0.02)
        answer = None
        with suppress(ConnectionError):
            while answer != b"":
                connection.sendall(b"y")
                with suppress(TimeoutError):
                    answer = connection.recv(1)


def test_a_request_may_take_longer_than_its_head(at, slow, monkeypatch):
    monkeypatch.setattr(web_server, "HEAD_S", 1)
    while not slow.began.is_set():  # on a busy machine it may have come too late
        connection = ask(at)
        slow.began.wait(1)
    time.sleep(1.2)
    slow.cancelled.set()
    assert connection.getresponse().status == 200
    connection.close()


def test_a_body_that_is_too_long_is_answered_not_cut_off(at):
    connection = http.client.HTTPConnection(*at, timeout=HANGS_S)
    size = 40 * 1024 * 1024
    connection.putrequest("POST", "/api/search")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(size))
    connection.endheaders()
    for _ in range(40):
        connection.send(bytes(1024 * 1024))
    assert connection.getresponse().status == 413
    connection.close()


@pytest.mark.parametrize(
    "raw",
    [
        b"GET http://evil.example/api/state HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"GET /api/state HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n",
        b"GET /api/state HTTP/1.0\r\n\r\n",
        b"GET /static/../app.py HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /static//etc/passwd HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /static/%00 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /thumb?collection=%ff%00&id=%00 HTTP/1.1\r\nHost: evil\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_raw_requests_that_are_refused(at, raw):
    with socket.create_connection(at, timeout=HANGS_S) as connection:
        connection.sendall(raw)
        status = connection.recv(65536).split(b"\r\n")[0]
        assert status.split()[1][:1] == b"4", status
