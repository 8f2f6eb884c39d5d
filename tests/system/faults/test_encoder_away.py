"""The encoder is killed or frozen: what callers and health are told, step by step."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

from clipsearch import Client, Point
from tests.health import NOT_SERVING, SERVING, failure
from tests.ports import kept_port

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def encoder(service, starter_bundle):
    """One that may be killed."""
    with kept_port() as port:
        yield service("encoder", ENCODER_MODEL=str(starter_bundle)).start(port)


@pytest.fixture(scope="module")
def search(service, encoder, tmp_path_factory):
    """A search service that is not ready after a second without its encoder."""
    process = service(
        "search",
        SEARCH_ENCODER=encoder.address,
        SEARCH_DATA_DIR=str(tmp_path_factory.mktemp("data")),
        SEARCH_UNREADY_AFTER_S="1",
        SEARCH_ENCODER_TIMEOUT_S="600",  # so that no deadline is what ends a call
    ).start()
    with Client(process.address) as client:
        client.create_collection("c")
        client.upsert("c", [Point("a", text="a cat"), Point("b", text="a dog")])
    return process


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_gone_and_back(search, encoder, health, how):
    said = health(search.address)
    said.becomes(SERVING)
    with Client(search.address, timeout=3600) as client:
        client.search("c", f"a warm connection, before it is {how}")
        if how == "killed":
            encoder.stop(signal.SIGKILL)
        else:
            os.kill(encoder.pid, signal.SIGSTOP)
        try:
            for call in (
                lambda: client.search("c", "a pet"),
                lambda: client.upsert("c", [Point("never", text="a pet")]),
            ):
                error = failure(call)
                assert (error.code, error.reason, error.retry_after) == (
                    "UNAVAILABLE",
                    "ENCODER_UNAVAILABLE",
                    1.0,
                )
                assert error.metadata["dependency"] == "encoder"
            # what needs no encoder works on
            assert client.search("c", point_id="a")[0].id == "b"
            assert client.search("c", vector=np.eye(512, dtype=np.float32)[0])
            assert client.count("c") == 2
            said.becomes(NOT_SERVING)
            assert said.all() == (NOT_SERVING, NOT_SERVING, SERVING, SERVING)
        finally:
            if how == "killed":
                encoder.start(port=encoder.port)
            else:
                os.kill(encoder.pid, signal.SIGCONT)
        said.becomes(SERVING)
        assert said.all() == (SERVING,) * 4
        assert client.search("c", "a kitten")[0].id == "a"
        assert client.count("c") == 2
