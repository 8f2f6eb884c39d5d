"""What the log must never hold: the request of a call that failed, a token that came with odd bytes."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest
import structlog

from clipsearch.encoder.v1 import encoder_pb2
from clipsearch.serving.telemetry.log import configure_logging
from tests.unit.clipsearch.serving.http2 import status
from tests.unit.clipsearch.serving.served import GET_MODEL, refusal, running

CANARY = "c4n4ry-0b5ea7"
ENCODE = "/clipsearch.encoder.v1.EncoderService/EncodeText"


@pytest.fixture(params=["text", "json"])
def log(request, capsys):
    """Reads what was logged, in either format; sets logging back afterwards."""
    root, handlers, level = logging.getLogger(), logging.getLogger().handlers, logging.getLogger().level
    configure_logging("debug", request.param, "encoder")
    structlog.configure(cache_logger_on_first_use=False)  # or loggers that are used now log so for good
    yield lambda: capsys.readouterr().err
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


async def test_an_unexpected_error_is_logged_without_the_request(log):
    async def fails(request, context):
        held = request.texts[0]
        raise RuntimeError(f"a fault of {len(held)} characters")

    async with running() as server:
        server.answers[ENCODE] = fails
        await refusal(server.channel, ENCODE, encoder_pb2.EncodeTextRequest(texts=[CANARY]))
    logged = log()
    assert "unexpected error" in logged
    assert "a fault of 13 characters" in logged
    assert "raise RuntimeError" in logged
    assert CANARY not in logged


async def test_metadata_that_is_no_utf_8_is_told_without_its_value(log):
    async with running() as server:
        token = b"Bearer \xff" + CANARY.encode()
        assert await status(server.address, GET_MODEL.encode(), (b"authorization", token)) == 0
    logged = log()
    assert "metadata of a call is no UTF-8" in logged
    assert CANARY not in logged


FAILING = """
import structlog
from clipsearch.serving.telemetry.log import configure_logging

def fails():
    held = "c4n4ry-" + "0b5ea7"
    raise RuntimeError(f"a fault of {len(held)} characters")

configure_logging("debug", "text", "encoder")
try:
    fails()
except RuntimeError:
    structlog.get_logger("x").exception("unexpected error")
"""


def test_a_traceback_on_a_terminal_shows_no_local_variable():
    logged = subprocess.run(
        [sys.executable, "-c", FAILING],
        env={**os.environ, "FORCE_COLOR": "1"},
        capture_output=True,
        text=True,
    ).stderr
    assert "a fault of 13 characters" in logged
    assert CANARY not in logged
