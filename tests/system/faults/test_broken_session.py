"""An encoder whose session fails every batch from some moment on, as after a fault of its card."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipsearch import EncoderClient
from tests.health import failure
from tests.ports import kept_port
from tests.processes import Start
from tests.toy_bundle import build_toy

pytestmark = pytest.mark.slow

# The service itself; its sessions fail while there is a file.
PROGRAM = """
import os, sys
from encoder_service.__main__ import main
from encoder_service.queue import batcher
from encoder_service.runtime.session import OnnxSession

fault = sys.argv.pop()
run = OnnxSession.run

def failing(self, inputs):
    if os.path.exists(fault):
        raise RuntimeError("CUDA failure 700: an illegal memory access was encountered")
    return run(self, inputs)

OnnxSession.run = failing
batcher.MOST_FAILURES = 3
batcher.FAILING_S = 0
main()
"""


@pytest.fixture
def port() -> Iterator[int]:
    with kept_port() as port:
        yield port


def test_a_session_that_stays_broken_ends_the_process_and_a_new_one_works(
    service: Start, tmp_path: Path, port: int
) -> None:
    build_toy(tmp_path / "toy")
    fault = tmp_path / "fault"
    encoder = service("encoder", ENCODER_MODEL=str(tmp_path / "toy"))
    encoder.command = [sys.executable, "-c", PROGRAM, str(fault)]
    encoder.start(port)
    with EncoderClient(encoder.address, timeout=60) as client:

        def fails(text: str) -> None:
            assert failure(lambda: client.encode_texts([text])).code == "INTERNAL"

        fault.touch()
        fails("a dog")
        fails("a cat")
        fault.unlink()
        client.encode_texts(["a dog"])  # the count begins anew
        fault.touch()
        for text in ("one", "two", "three"):
            fails(text)
    assert encoder.stop(0) == 1  # signal 0 asks nothing: it ends by itself
    problem = "the text tower works no more: 3 batches in a row failed, the last with RuntimeError"
    lines = [json.loads(line) for line in encoder.text().splitlines() if line.startswith("{")]
    assert [line["problem"] for line in lines if line["event"] == "encoder cannot go on"] == [problem]
    assert encoder.text().splitlines()[-1] == f"encoder: {problem}"
    fault.unlink()
    encoder.start(port)
    with EncoderClient(encoder.address, timeout=60) as client:
        client.encode_texts(["a dog"])
    assert encoder.stop() == 0
