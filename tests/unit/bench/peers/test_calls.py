"""The peer is asked in its own terms, and an answer that is none does not count as one."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.bench.load import BadAnswer
from tests.bench.peers.calls import Load, Pattern, run_load, vectors


class Peer(BaseHTTPRequestHandler):
    """Answers each item with a vector of its length, and refuses pictures."""

    protocol_version = "HTTP/1.1"
    asked: list[dict[str, Any]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.asked.append(body)
        data = [{"embedding": _packed([len(text), 1.0])} for text in body["input"]]
        answer = json.dumps({"data": data}).encode()
        self.send_response(200 if body["modality"] == "text" else 500)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


def _packed(numbers: list[float]) -> str:
    return base64.b64encode(np.array(numbers, "<f4").tobytes()).decode()


@pytest.fixture
def peer() -> Iterator[str]:
    Peer.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Peer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_vectors_come_back_in_order(peer: str) -> None:
    found = vectors("infinity", peer, "text", ["a cat", "dogs"])

    assert found.tolist() == [[5.0, 1.0], [4.0, 1.0]]
    assert Peer.asked[0]["encoding_format"] == "base64"


def test_a_picture_travels_as_a_data_uri_and_a_refusal_is_an_error(peer: str) -> None:
    with pytest.raises(BadAnswer, match="500"):
        vectors("infinity", peer, "image", [b"jpeg"])

    assert Peer.asked[0]["input"] == ["data:image/jpeg;base64," + base64.b64encode(b"jpeg").decode()]


def test_no_two_calls_of_a_load_send_the_same_items(peer: str, tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()

    summary = run_load(Load("infinity", peer, tmp_path, "text", Pattern(2, 3), 100, 0.0, 0.3))

    sent = [text for body in Peer.asked for text in body["input"]]
    assert len(sent) == len(set(sent)) == 3 * summary.sent
    assert not summary.errors
