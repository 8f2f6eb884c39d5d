"""Qdrant Edge's engine is killed or frozen: what callers and health are told, step by step."""

from __future__ import annotations

import os
import signal
import threading
import time

import numpy as np
import pytest

from clipsearch import Client, ClipSearchError, Point
from tests.health import (
    BACK_S,
    FAST_S,
    NOT_SERVING,
    SERVING,
    failure,
    until_refused_fast,
)
from tests.processes import children, frozen

pytestmark = pytest.mark.slow

VECTORS = np.eye(4, dtype=np.float32)


@pytest.fixture(scope="module")
def search(service, encoder, tmp_path_factory):
    process = service(
        "search",
        SEARCH_ENCODER=encoder.address,
        SEARCH_DATA_DIR=str(tmp_path_factory.mktemp("data")),
        SEARCH_UNREADY_AFTER_S="2",
    ).start()
    with Client(process.address) as client:
        client.create_collection("c", dimension=4, fingerprint="f")
        client.upsert("c", [Point(str(n), image_vector=VECTORS[n]) for n in range(4)])
    return process


@pytest.fixture
def client(search):
    with Client(search.address, timeout=20) as client:
        yield client


@pytest.fixture
def engine(search, client) -> int:
    """The process of the one collection's engine, running."""
    client.count("c")
    [pid] = children(search.pid)
    return pid


def test_a_frozen_engine_and_back(client, search, engine, health):
    said = health(search.address)
    said.becomes(SERVING, within_s=15)
    with frozen(engine):
        error, took = failure(lambda: client.count("c"))
        assert (error.code, error.reason, error.metadata["dependency"]) == (
            "UNAVAILABLE",
            "STORE_UNAVAILABLE",
            "store",
        )
        assert took < 6, "the caller waited out its deadline of 20 s"
        until_refused_fast(lambda: client.count("c"))
        for call in (
            lambda: client.search("c", vector=VECTORS[0]),
            lambda: client.get_points("c", ["0"]),
            lambda: client.upsert("c", [Point("never", image_vector=VECTORS[0])]),
            lambda: client.delete_points("c", ["0"]),
        ):
            error, took = failure(call)
            assert (error.reason, error.retry_after, took < FAST_S) == ("STORE_UNAVAILABLE", 1.0, True)
        said.becomes(NOT_SERVING, within_s=10)
        assert said.all() == (NOT_SERVING, NOT_SERVING, NOT_SERVING, SERVING)
    seconds = said.becomes(SERVING)
    print(f"SERVING {seconds:.2f} s after the engine's return")
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
            time.sleep(0.7)
            [pid] = children(search.pid)
            os.kill(pid, signal.SIGKILL)
        time.sleep(1)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert answered[0] > 50
    assert children(search.pid) != [engine]


def test_health_follows_an_engine_that_comes_and_goes(client, search, engine, health):
    said = health(search.address)
    for _ in range(3):
        with frozen(engine):
            time.sleep(1.0)
        assert client.count("c") == 4
    assert said.becomes(SERVING) < BACK_S
