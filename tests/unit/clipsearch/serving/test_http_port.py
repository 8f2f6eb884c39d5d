"""The HTTP port, asked as Prometheus and the probes of Kubernetes ask it."""

from __future__ import annotations

import asyncio
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client import CollectorRegistry, Gauge

from clipsearch.serving import http_port as http_port_module
from clipsearch.serving.health import Readiness
from clipsearch.serving.http_port import http_port
from clipsearch.serving.service import Service, StartError

NAME = "clipsearch.search.v1.SearchService"
OTHER = "clipsearch.search.v1.CollectionService"


def get(address: str, page: str) -> tuple[int, str]:
    """The page's status and text."""
    try:
        with urllib.request.urlopen(f"http://{address}{page}", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


async def status(address: str, page: str) -> int:
    return (await asyncio.to_thread(get, address, page))[0]


@pytest.fixture
async def readiness() -> Readiness:
    return Readiness()


@pytest.fixture
async def address(readiness) -> Iterator[str]:
    registry = CollectorRegistry()
    Gauge("of_the_test", "A metric.", registry=registry).set(7)
    with http_port("127.0.0.1", 0, registry, readiness) as address:
        yield address


def service(name: str, up: list[bool]) -> Service:
    async def ready() -> None:
        if not up[0]:
            raise RuntimeError("away")

    return Service(name, lambda server: None, ready)


async def test_readiness_and_life_are_those_that_grpcs_health_tells(readiness, address):
    one, other = [True], [False]
    for page in ("/healthz", "/readyz"):
        assert await status(address, page) == 503, "nothing is served yet"
    await readiness.begin([service(NAME, one), service(OTHER, other)])
    assert await status(address, "/healthz") == 200
    assert await status(address, "/readyz") == 503
    await readiness.check()
    assert await status(address, f"/readyz?service={NAME}") == 200
    assert await status(address, f"/readyz?service={OTHER}") == 503
    assert await status(address, "/readyz") == 503
    other[0] = True
    await readiness.check()
    assert await asyncio.to_thread(get, address, "/readyz") == (200, "SERVING\n")
    await readiness.drain()
    assert await status(address, "/readyz") == 503
    assert await status(address, f"/readyz?service={NAME}") == 503
    assert await status(address, "/healthz") == 200


async def test_a_loop_that_does_not_answer_is_not_alive(readiness, address, monkeypatch):
    await readiness.begin([])
    with monkeypatch.context() as patched, ThreadPoolExecutor(1) as thread:
        patched.setattr(http_port_module, "LOOP_ANSWERS_S", 0.05)
        code, text = thread.submit(get, address, "/healthz").result()  # the loop stands still
    assert (code, text) == (503, "the event loop did not answer within 0.05 s\n")
    assert await status(address, "/healthz") == 200


async def test_metrics_are_there_and_what_is_not_is_said(address, readiness):
    await readiness.begin([])
    code, text = await asyncio.to_thread(get, address, "/metrics")
    assert code == 200
    assert "of_the_test 7.0" in text
    assert await status(address, "/") == 404
    assert await status(address, "/readyz?service=nobody") == 404


async def test_a_port_in_use_is_one_clear_line(readiness):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(StartError, match=f"cannot serve metrics on 127.0.0.1:{port}"),
            http_port("127.0.0.1", port, CollectorRegistry(), readiness),
        ):
            pass
