"""An encoder with several front ends is, to its callers, the encoder that it is without."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import numpy as np
import pytest
from PIL import Image

from clipsearch import ClientTls, EncoderClient
from clipsearch.encoder.v1 import encoder_pb2 as pb
from clipsearch.encoder.v1.vector_pb2 import VECTOR_FORMAT_F32_BYTES
from clipsearch.samples import write_samples
from tests.metrics import sample
from tests.processes import ServiceProcess, Start
from tests.system.services.frontends import alive, connections, front_ends
from tests.system.services.secured import Secured
from tests.toy_bundle import SIZE, WORDS, build_toy

pytestmark = pytest.mark.slow

TEXTS = [f"a {one} {other}" for one in WORDS[4:] for other in WORDS[4:]]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy") / "toy"
    build_toy(folder)
    return folder


@pytest.fixture(scope="module")
def alone(service: Start, toy: Path) -> ServiceProcess:
    return service("encoder", ENCODER_MODEL=str(toy)).start()


@pytest.fixture(scope="module")
def several(service: Start, toy: Path) -> ServiceProcess:
    return service("encoder", ENCODER_MODEL=str(toy), ENCODER_FRONTENDS="2", ENCODER_METRICS_PORT="0").start()


def jpeg(number: int, size: int = 32) -> bytes:
    colours = np.random.default_rng(number).integers(0, 256, (4, 4, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(colours).resize((size, size)).save(buffer, "JPEG")
    return buffer.getvalue()


def vectors(answer: pb.EncodeTextResponse | pb.EncodeImageResponse) -> np.ndarray:
    return np.stack([np.frombuffer(item.vector.f32, "<f4") for item in answer.embeddings])


F32 = {"format": VECTOR_FORMAT_F32_BYTES}
PICTURES = [jpeg(number) for number in range(12)]
RAW = np.random.default_rng(1).integers(0, 256, (9, SIZE, SIZE, 3), np.uint8)
CALLS: dict[str, Callable[[object], Awaitable[np.ndarray]]] = {}


def a_call(make: Callable[[object], Awaitable[np.ndarray]]) -> Callable[[object], Awaitable[np.ndarray]]:
    CALLS[make.__name__] = make
    return make


@a_call
async def pictures(stub):
    return vectors(await stub.EncodeImage(pb.EncodeImageRequest(images=PICTURES, **F32)))


@a_call
async def raw_pixels(stub):
    raw = pb.RawPixels(rgb=RAW.tobytes(), count=len(RAW))
    return vectors(await stub.EncodeImage(pb.EncodeImageRequest(raw=raw, **F32)))


@a_call
async def texts(stub):
    return vectors(await stub.EncodeText(pb.EncodeTextRequest(texts=TEXTS, **F32)))


@a_call
async def classifications(stub):
    answer = await stub.Classify(pb.ClassifyRequest(images=PICTURES, labels=["cat", "dog", "red"]))
    return np.array([[s.probability for s in one.scores] for one in answer.classifications])


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
async def test_answers_are_those_of_one_process_from_either_front_end(alone, several, call):
    async with connections(alone.address, 1) as [one]:
        expected = await call(one)
    async with connections(several.address, 6) as stubs:
        for answer in await asyncio.gather(*map(call, stubs)):
            np.testing.assert_allclose(answer, expected, atol=1e-6)


async def test_what_is_said_of_the_model_and_of_wrong_input_is_the_same(alone, several):
    async def told(address: str) -> tuple[object, ...]:
        async with connections(address, 1) as [stub]:
            model = await stub.GetModel(pb.GetModelRequest())
            mixed = await stub.EncodeImage(pb.EncodeImageRequest(images=[PICTURES[0], b"no picture"]))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.EncodeImage(pb.EncodeImageRequest(raw=pb.RawPixels(rgb=b"123", count=1)))
            return model, mixed.embeddings[1], caught.value.code(), caught.value.details()

    assert await told(several.address) == await told(alone.address)


def test_without_the_setting_no_process_is_started_and_no_thread_of_front_ends(alone):
    assert front_ends(alone) == []
    names = {path.read_text().strip() for path in Path(f"/proc/{alone.pid}/task").glob("*/comm")}
    assert not [name for name in names if "waitpid" in name]
    assert "memfd:clipsearch" not in Path(f"/proc/{alone.pid}/maps").read_text()


async def test_batches_are_made_of_the_pictures_of_both_front_ends(several):
    before = several.metrics()
    assert len(front_ends(several)) == 2
    async with connections(several.address, 16) as stubs:  # one picture a call: only others can fill a batch

        async def call(number: int) -> None:
            stub = stubs[number % len(stubs)]
            raw = pb.RawPixels(rgb=np.full((SIZE, SIZE, 3), number % 256, np.uint8).tobytes(), count=1)
            await stub.EncodeImage(pb.EncodeImageRequest(raw=raw, **F32))

        os.kill(several.pid, signal.SIGSTOP)  # what arrives meanwhile waits, on machines of any speed
        try:
            calls = [asyncio.create_task(call(number)) for number in range(400)]
            await asyncio.sleep(1)
        finally:
            os.kill(several.pid, signal.SIGCONT)
        await asyncio.gather(*calls)
    after = several.metrics()

    def grown(metric: str, **labels: str) -> float:
        return sample(after, metric, **labels) - sample(before, metric, **labels)

    assert grown("clipsearch_encoder_batch_items_sum", tower="image") == 400
    assert grown("clipsearch_encoder_batch_items_count", tower="image") < 200
    assert grown("grpc_server_handled_total", grpc_method="EncodeImage", grpc_code="OK") == 400
    assert grown("clipsearch_encoder_queue_seconds_count", tower="image") == 400
    assert sample(after, "clipsearch_encoder_frontends") == 2
    assert sample(after, "clipsearch_ready", grpc_service="overall") == 1
    assert sample(after, "clipsearch_encoder_admitted_items", tower="image") == 0


def test_log_lines_name_the_process(several):
    names = {entry["process"] for entry in several.logged()}
    assert names == {"session", "frontend-0", "frontend-1"}
    assert all(entry["service"] == "encoder" for entry in several.logged())


def test_a_port_that_the_service_has_is_refused_to_another_either_way(service, several, toy):
    for count in ("0", "2"):
        other = service("encoder", ENCODER_MODEL=str(toy), ENCODER_FRONTENDS=count)
        process = other.launch(several.port)
        assert process.wait(30) == 1
        assert "the port is in use" in other.text()
    assert len(front_ends(several)) == 2


def test_a_front_end_that_cannot_start_ends_the_service_with_its_own_line(service, toy, tmp_path):
    broken = service(
        "encoder",
        ENCODER_MODEL=str(toy),
        ENCODER_FRONTENDS="2",
        ENCODER_TOKENS_FILE=str(tmp_path / "not there"),
    )
    assert broken.launch().wait(30) == 1
    assert "cannot read" in broken.text()
    assert "Traceback" not in broken.text()


def test_a_model_that_does_not_load_is_told_as_without_front_ends(service, tmp_path):
    broken = service("encoder", ENCODER_MODEL=str(tmp_path), ENCODER_FRONTENDS="2")
    assert broken.launch().wait(30) == 1
    assert "is not a model bundle" in broken.text()


def test_tls_and_tokens_hold_in_every_front_end(service, toy, tmp_path):
    secured = Secured(tmp_path)
    encoder = service(
        "encoder",
        ENCODER_MODEL=str(toy),
        ENCODER_FRONTENDS="2",
        ENCODER_TLS_CERTIFICATE=str(secured.certificate),
        ENCODER_TLS_KEY=str(secured.key),
        ENCODER_TOKENS_FILE=str(secured.encoder_tokens),
    ).start()
    for _ in range(6):
        tls = ClientTls(ca=secured.ca)
        with EncoderClient(encoder.address, token=secured.caller, tls=tls) as client:
            assert client.encode_texts(["a cat"]).shape == (1, 16)
        with (
            EncoderClient(encoder.address, token="cs_unknown", tls=tls) as client,
            pytest.raises(Exception, match="token"),
        ):
            client.encode_texts(["a cat"])
    assert encoder.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_nothing_is_left_behind(service, toy, number):
    before = set(Path("/dev/shm").iterdir())
    encoder = service("encoder", ENCODER_MODEL=str(toy), ENCODER_FRONTENDS="2").start()
    processes = front_ends(encoder)
    with EncoderClient(encoder.address) as client:
        client.encode_texts(["a cat"])
    assert "memfd:clipsearch" in Path(f"/proc/{encoder.pid}/maps").read_text()
    status = encoder.stop(number)
    assert status == (0 if number == signal.SIGTERM else -number)
    end = time.monotonic() + 5
    while any(map(alive, processes)):
        assert time.monotonic() < end, "a front end lives on"
        time.sleep(0.02)
    assert {path for path in set(Path("/dev/shm").iterdir()) - before if "clipsearch" in path.name} == set()
    # The port is free for the next one.
    again = service("encoder", ENCODER_MODEL=str(toy), ENCODER_FRONTENDS="1").start(encoder.port)
    assert again.stop() == 0


def test_the_starter_model_gives_the_vectors_it_gives_in_one_process(service, starter_bundle, tmp_path):
    photos = write_samples(tmp_path)[:6]
    words = ["a cat", "a cup of coffee", "a fast motorcycle on a road", "rocket"]
    made = []
    for count in ("0", "2"):
        encoder = service("encoder", ENCODER_MODEL=str(starter_bundle), ENCODER_FRONTENDS=count).start()
        with EncoderClient(encoder.address) as client:
            made.append((client.encode_images(photos), client.encode_texts(words)))
        assert encoder.stop() == 0
    for one, other in zip(*made, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
