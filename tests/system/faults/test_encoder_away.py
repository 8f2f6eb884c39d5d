"""The encoder is killed, frozen, slow, or comes and goes: what callers and health are told, step by step.

CLIPSEARCH_AWAY_S=30 makes it stay away for so long; it is 4 s otherwise.
"""

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
from tests.processes import frozen

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def search(service, encoder, tmp_path_factory):
    """A search service that is not ready after two seconds without its encoder."""
    process = service(
        "search",
        SEARCH_ENCODER=encoder.address,
        SEARCH_DATA_DIR=str(tmp_path_factory.mktemp("data")),
        SEARCH_UNREADY_AFTER_S="2",
    ).start()
    with Client(process.address) as client:
        client.create_collection("c")
        client.upsert("c", [Point("a", text="a cat"), Point("b", text="a dog")])
    return process


@pytest.fixture
def client(search):
    with Client(search.address, timeout=20) as client:
        yield client


def works_without_an_encoder(client) -> None:
    assert client.search("c", point_id="a")[0].id == "b"
    assert client.search("c", vector=np.eye(512, dtype=np.float32)[0])
    assert client.count("c") == 2


@pytest.mark.parametrize("away_s", [float(os.environ.get("CLIPSEARCH_AWAY_S", "4"))])
@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_gone_and_back(client, search, encoder, health, how, away_s, record_property):
    said = health(search.address)
    said.becomes(SERVING, within_s=15)
    gone = time.monotonic()
    if how == "killed":
        encoder.stop(signal.SIGKILL)
    else:
        os.kill(encoder.pid, signal.SIGSTOP)
    try:
        error = until_refused_fast(lambda: client.search("c", "a pet"))
        assert (error.reason, error.metadata["dependency"]) == ("ENCODER_UNAVAILABLE", "encoder")
        assert error.retry_after == 1.0
        works_without_an_encoder(client)
        error, took = failure(lambda: client.upsert("c", [Point("never", text="a pet")]))
        assert (error.reason, took < FAST_S) == ("ENCODER_UNAVAILABLE", True)
        said.becomes(NOT_SERVING, within_s=10)
        assert said.all() == (NOT_SERVING, NOT_SERVING, SERVING, SERVING)
        time.sleep(max(0.0, gone + away_s - time.monotonic()))
        assert said.all() == (NOT_SERVING, NOT_SERVING, SERVING, SERVING)
        error, took = failure(lambda: client.search("c", "a pet"))
        assert (error.code, took < FAST_S) == ("UNAVAILABLE", True)
    finally:
        if how == "killed":
            encoder.start(port=encoder.port)
        else:
            os.kill(encoder.pid, signal.SIGCONT)
    seconds = said.becomes(SERVING)
    record_property("seconds_to_serving", seconds)
    print(f"the encoder was {how} for {away_s:g} s; SERVING {seconds:.2f} s after its return")
    assert client.search("c", "a kitten")[0].id == "a"
    assert client.count("c") == 2


def test_a_call_that_waits_for_a_frozen_encoder_is_given_up(client, encoder):
    client.search("c", "a warm connection")
    with frozen(encoder.pid):
        error, took = failure(lambda: client.search("c", "a text that is in no cache"))
    assert (error.code, error.reason) == ("UNAVAILABLE", "ENCODER_UNAVAILABLE")
    assert took < 6, "the caller waited out its deadline of 20 s"


def test_a_slow_encoder_is_slow_and_no_more(client, search, encoder, health):
    said = health(search.address)
    said.becomes(SERVING)
    done = threading.Event()

    def stutter() -> None:
        while not done.is_set():
            with frozen(encoder.pid):
                time.sleep(0.3)
            time.sleep(0.1)

    thread = threading.Thread(target=stutter)
    thread.start()
    try:
        for n in range(12):
            assert client.search("c", f"kitten number {n}")
            assert said.all() == (SERVING,) * 4
    finally:
        done.set()
        thread.join()


def test_a_flapping_encoder_gets_right_answers_or_unavailable(client, search, encoder, health):
    said = health(search.address)
    outcomes = {"answered": 0, "UNAVAILABLE": 0}
    for _ in range(2):
        for stop in (True, False):
            if stop:
                encoder.stop(signal.SIGKILL)
            else:
                encoder.start(port=encoder.port)
            end = time.monotonic() + 2
            while time.monotonic() < end:
                begun = time.monotonic()
                try:
                    assert client.search("c", f"a kitten at {begun}")[0].id == "a"
                    outcomes["answered"] += 1
                except ClipSearchError as error:
                    if error.reason != "ENCODER_UNAVAILABLE":
                        raise
                    outcomes[error.code] += 1
                assert time.monotonic() - begun < 3
                time.sleep(0.02)
    assert min(outcomes.values()) > 0, outcomes
    assert said.becomes(SERVING) < BACK_S
