"""Qdrant Edge's engine is killed or frozen: what callers and health are told, step by step."""

from __future__ import annotations

import os
import signal
import threading

import numpy as np
import pytest

from clipsearch import Client, ClipSearchError, Point
from tests.health import NOT_SERVING, SERVING, failure
from tests.processes import children, frozen
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

VECTORS = np.eye(4, dtype=np.float32)


@pytest.fixture(scope="module")
def search(service, encoder, tmp_path_factory):
    process = service(
        "search",
        SEARCH_ENCODER=encoder.address,
        SEARCH_DATA_DIR=str(tmp_path_factory.mktemp("data")),
        SEARCH_UNREADY_AFTER_S="1",
        SEARCH_STORE_TIMEOUT_S="600",  # so that no deadline is what ends a call
    ).start()
    with Client(process.address) as client:
        client.create_collection("c", dimension=4, fingerprint="f")
        client.upsert("c", [Point(str(n), image_vector=VECTORS[n]) for n in range(4)])
    return process


@pytest.fixture
def client(search):
    with Client(search.address, timeout=3600) as client:
        yield client


@pytest.fixture
def engine(search, client) -> int:
    """The process of the one collection's engine, running."""
    client.count("c")
    [pid] = children(search.pid)
    return pid


def test_a_frozen_engine_and_back(client, search, engine, health):
    said = health(search.address)
    said.becomes(SERVING)
    with frozen(engine):
        error = failure(lambda: client.count("c"))
        assert (error.code, error.reason, error.metadata["dependency"]) == (
            "UNAVAILABLE",
            "STORE_UNAVAILABLE",
            "store",
        )
        for call in (
            lambda: client.search("c", vector=VECTORS[0]),
            lambda: client.get_points("c", ["0"]),
            lambda: client.upsert("c", [Point("never", image_vector=VECTORS[0])]),
            lambda: client.delete_points("c", ["0"]),
        ):
            error = failure(call)
            assert (error.reason, error.retry_after) == ("STORE_UNAVAILABLE", 1.0)
        said.becomes(NOT_SERVING)
        assert said.all() == (NOT_SERVING, NOT_SERVING, NOT_SERVING, SERVING)
    said.becomes(SERVING)
    assert said.all() == (SERVING,) * 4
    assert client.search("c", vector=VECTORS[1])[0].id == "1"
    assert client.count("c") == 4
    assert children(search.pid) == [engine]  # nothing was restarted


def test_an_engine_killed_under_load_fails_nobody(client, search, engine):
    stop, failures, answered = threading.Event(), [], [0]

    def load(number: int) -> None:
        with Client(search.address) as own:
            while not stop.is_set():
                try:
                    if number % 2:
                        own.upsert("c", [Point(str(number % 4), image_vector=VECTORS[number % 4])])
                    else:
                        assert own.count("c") == 4
                    answered[0] += 1
                except (ClipSearchError, AssertionError) as error:
                    failures.append(error)

    threads = [threading.Thread(target=load, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            before = answered[0]
            wait_until(lambda before=before: answered[0] > before + 10 or bool(failures))
            [pid] = children(search.pid)
            os.kill(pid, signal.SIGKILL)
        before = answered[0]
        wait_until(lambda: answered[0] > before + 10 or bool(failures))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert children(search.pid) != [engine]
