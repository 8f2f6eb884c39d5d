"""What the kernel tells of this process's connections."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator

import pytest

from clipsearch.serving.receiving.connections import Connections

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")


@pytest.fixture(params=["127.0.0.1", "::1", "dual"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket, str]]:
    """A client, the server's end of its connection, and gRPC's name of the client."""
    dual = request.param == "dual"  # a socket for both, which sees IPv4 inside of IPv6
    family = socket.AF_INET if request.param == "127.0.0.1" else socket.AF_INET6
    address = ("::" if dual else request.param, 0)
    try:
        listener = socket.create_server(address, family=family, dualstack_ipv6=dual)
    except OSError:
        pytest.skip("no IPv6 here")
    host = "127.0.0.1" if family is socket.AF_INET or dual else "::1"
    client = socket.create_connection((host, listener.getsockname()[1]))
    server, _ = listener.accept()
    port = client.getsockname()[1]
    yield client, server, f"ipv6:%5B::1%5D:{port}" if host == "::1" else f"ipv4:{host}:{port}"
    for each in (listener, client, server):
        each.close()


def test_bytes_are_counted_as_they_come_whether_they_are_read_or_not(pair):
    client, server, peer = pair
    connections = Connections()
    assert connections.received(peer) == 0
    client.sendall(bytes(100_000))
    seen = 0
    while seen < 40_000:
        seen += len(server.recv(40_000 - seen))
    while connections.received(peer) < 100_000:
        pass
    assert connections.received(peer) == 100_000


def test_a_connection_that_has_gone_is_not_taken_for_another(pair):
    _, server, peer = pair
    connections = Connections()
    assert connections.received(peer) == 0
    descriptor = server.fileno()
    with socket.socket() as made:
        os.dup2(made.fileno(), descriptor)  # which closes what had the number
    with socket.socket(fileno=server.detach()) as other:
        assert connections.received(peer) is None
        assert other.fileno() == descriptor  # and what took its number is as it was
        other.bind(("127.0.0.1", 0))


@pytest.mark.parametrize("peer", ["", "unix:/tmp/x", "ipv4:127.0.0.1", "ipv4:127.0.0.1:x", "ipv4:1.2.3.4:5"])
def test_of_others_nothing_is_told(peer):
    assert Connections().received(peer) is None
