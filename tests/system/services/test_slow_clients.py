"""Clients that are slow, half-open or greedy: others are served meanwhile, and what they held is let go."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from clipsearch import AsyncEncoderClient
from clipsearch.encoder.v1 import encoder_pb2
from tests.unit.clipsearch.serving.http2 import RawCall
from tests.waiting import HANGS_S, until

pytestmark = pytest.mark.slow

ENCODE = b"/clipsearch.encoder.v1.EncoderService/EncodeText"


@pytest.fixture(scope="module")
def encoder(service, starter_bundle):
    settings = {"ENCODER_DEFAULT_DEADLINE_S": "3"}
    return service("encoder", ENCODER_MODEL=str(starter_bundle), **settings).start()


def sockets(pid: int) -> int:
    count = 0
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since it was listed
            count += str(link.readlink()).startswith("socket")
    return count


async def others_are_served(encoder) -> None:
    """Ordinary calls are answered, and so is health, whatever others do meanwhile."""
    async with (
        AsyncEncoderClient(encoder.address, timeout=HANGS_S) as client,
        grpc.aio.insecure_channel(encoder.address) as channel,
    ):
        health = health_pb2_grpc.HealthStub(channel)
        for number in range(10):
            await client.encode_texts([f"an ordinary query, number {number}"])
            answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=HANGS_S)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def closed(reader: asyncio.StreamReader) -> None:
    async with asyncio.timeout(HANGS_S):
        with suppress(ConnectionError):
            while await reader.read(65536):
                pass


async def test_connections_that_say_nothing_or_nonsense_are_let_go(encoder):
    before = sockets(encoder.pid)
    opened = [await asyncio.open_connection("127.0.0.1", encoder.port) for _ in range(100)]
    for _, writer in opened[50:]:
        writer.write(b"PRI * HTTP/2.0\r\n")  # the first half of a greeting
    await others_are_served(encoder)
    await asyncio.gather(*(closed(reader) for reader, _ in opened))
    for _, writer in opened:
        writer.close()
    await until(lambda: sockets(encoder.pid) <= before + 4)


async def test_answers_that_nobody_reads_stop_nobody_else(encoder):
    memory = encoder.rss_mb()
    texts = encoder_pb2.EncodeTextRequest(texts=[f"a text, number {number}" for number in range(16)])
    data = texts.SerializeToString()
    body = b"\0" + len(data).to_bytes(4, "big") + data
    calls = [await RawCall(ENCODE, body=body, window=0).send(encoder.address) for _ in range(200)]
    await others_are_served(encoder)
    assert encoder.rss_mb() - memory < 100
    for call in calls:
        call.close()
    await until(lambda: sockets(encoder.pid) < 50)
