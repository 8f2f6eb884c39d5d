"""The port is the service's alone, and its front ends' together."""

from __future__ import annotations

import contextlib
import socket

import grpc
import pytest

from clipsearch.serving.lifecycle import StartError
from encoder_service.frontends.port import hold_port


def server(port: int, shared: bool) -> grpc.aio.Server:
    made = grpc.aio.server(options=[("grpc.so_reuseport", int(shared))])
    made.add_insecure_port(f"127.0.0.1:{port}")
    return made


async def test_front_ends_share_the_port_and_nobody_else_gets_it() -> None:
    with contextlib.closing(hold_port("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        with pytest.raises(RuntimeError):
            server(port, shared=False)  # an encoder without front ends
        front_ends = [server(port, shared=True) for _ in range(2)]
        for front_end in front_ends:
            await front_end.start()
        with pytest.raises(StartError, match="the port is in use"):
            hold_port("127.0.0.1", port)  # one with front ends
        with pytest.raises(RuntimeError):
            server(port, shared=False)
        for front_end in front_ends:
            await front_end.stop(None)


def test_a_port_in_use_is_told_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(StartError, match="in use"):
        hold_port("127.0.0.1", taken.getsockname()[1])


@pytest.mark.parametrize("host", ["203.0.113.7", "no such host"])
def test_an_address_of_another_machine_is_told_too(host: str) -> None:
    with pytest.raises(StartError, match="not one of this machine"):
        hold_port(host, 0)


def test_a_port_is_free_again_right_after() -> None:
    held = hold_port("127.0.0.1", 0)
    port = held.getsockname()[1]
    held.close()
    hold_port("127.0.0.1", port).close()
