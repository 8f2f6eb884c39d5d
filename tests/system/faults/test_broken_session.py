"""An encoder whose session fails every batch from some moment on, as after a fault of its card."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from clipsearch import EncoderClient
from tests.health import Health, failure
from tests.processes import ServiceProcess, Start
from tests.toy_bundle import build_toy

pytestmark = pytest.mark.slow

# The service itself; its sessions fail while there is a file.
PROGRAM = """
import os, sys
from encoder_service import proving
from encoder_service.__main__ import main
from encoder_service.runtime.session import OnnxSession

fault, most_failures = sys.argv[1:]
del sys.argv[1:]
run = OnnxSession.run

def failing(self, inputs):
    if os.path.exists(fault):
        raise RuntimeError("CUDA failure 700: an illegal memory access was encountered")
    return run(self, inputs)

OnnxSession.run = failing
proving.MOST_FAILURES = int(most_failures)
main()
"""
Breakable = Callable[..., ServiceProcess]


@pytest.fixture
def fault(tmp_path: Path) -> Path:
    """The file that breaks the sessions."""
    return tmp_path / "fault"


@pytest.fixture
def breakable(service: Start, tmp_path: Path, fault: Path) -> Breakable:
    """Starts the encoder; after so many proofs in vain, a second apart, it is to give up."""

    def start(most_failures: int) -> ServiceProcess:
        build_toy(tmp_path / "toy")
        encoder = service(
            "encoder",
            ENCODER_MODEL=str(tmp_path / "toy"),
            ENCODER_UNREADY_AFTER_S="1",
        )
        encoder.command = [sys.executable, "-c", PROGRAM, str(fault), str(most_failures)]
        return encoder.start()

    return start


def given_up(encoder: ServiceProcess) -> list[str]:
    """Why, by the lines of its log that say so."""
    lines = [json.loads(line) for line in encoder.text().splitlines() if line.startswith("{")]
    return [line["problem"] for line in lines if line["event"] == "encoder cannot go on"]


def test_a_session_that_stays_broken_ends_the_process_and_a_new_one_works(
    breakable: Breakable, fault: Path
) -> None:
    encoder = breakable(most_failures=3)
    with EncoderClient(encoder.address, timeout=60) as client:
        client.encode_texts(["a cat"])
        fault.touch()
        error = failure(lambda: client.encode_texts(["a dog"]))
        assert error.code == "INTERNAL"
    assert encoder.stop(0) == 1  # signal 0 asks nothing: it ends by itself
    [problem] = given_up(encoder)
    assert problem.startswith("the text tower's session is broken: it fails (RuntimeError)")
    assert encoder.text().splitlines()[-1] == f"encoder: {problem}"
    fault.unlink()
    encoder.start(port=encoder.port)
    with EncoderClient(encoder.address, timeout=60) as client:
        client.encode_texts(["a dog"])
    assert encoder.stop() == 0


def test_a_fault_that_passes_is_told_and_taken_back(
    breakable: Breakable, fault: Path, health: Callable[[str], Health]
) -> None:
    encoder = breakable(most_failures=60)
    said = health(encoder.address)
    with EncoderClient(encoder.address, timeout=60) as client:
        fault.touch()
        failure(lambda: client.encode_texts(["a dog"]))
        said.becomes("NOT_SERVING")
        assert said.of("liveness") == "SERVING"
        fault.unlink()
        said.becomes("SERVING")
        client.encode_texts(["a dog"])
    assert encoder.stop() == 0
