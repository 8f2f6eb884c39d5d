"""Clients that are slow, half-open or greedy: others are served meanwhile, and what they held is let go."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from clipsearch import AsyncEncoderClient
from clipsearch.encoder.v1 import encoder_pb2
from tests.unit.clipsearch.serving.http2 import RawCall

pytestmark = pytest.mark.slow

ENCODE = b"/clipsearch.encoder.v1.EncoderService/EncodeText"
LIMIT_S = 3
HANDSHAKE_S = 10
# Served meanwhile, that is: this also runs on machines with much else to do.
PATIENCE_S = 8
HALF = b"\0\0\0\0\x09ab"


@pytest.fixture(scope="module")
def encoder(service, starter_bundle):
    settings = {"ENCODER_DEFAULT_DEADLINE_S": str(LIMIT_S)}
    return service("encoder", ENCODER_MODEL=str(starter_bundle), **settings).start()


def sockets(pid: int) -> int:
    count = 0
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since it was listed
            count += str(link.readlink()).startswith("socket")
    return count


def resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1000
    raise LookupError("no VmRSS")


async def longest_wait(encoder, seconds: float) -> float:
    """The longest that an ordinary call, or health, took over `seconds`; every one must succeed."""
    slowest, end = 0.0, time.monotonic() + seconds
    async with (
        AsyncEncoderClient(encoder.address) as client,
        grpc.aio.insecure_channel(encoder.address) as channel,
    ):
        health = health_pb2_grpc.HealthStub(channel)
        number = 0
        while time.monotonic() < end:
            start = time.monotonic()
            number += 1
            await client.encode_texts([f"an ordinary query, number {number}"])
            answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_S)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
            slowest = max(slowest, time.monotonic() - start)
            await asyncio.sleep(0.05)
    return slowest


async def closed_within(reader: asyncio.StreamReader, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            while await reader.read(65536):
                pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


async def test_connections_that_say_nothing_or_nonsense_are_let_go(encoder):
    before = sockets(encoder.pid)
    opened = [await asyncio.open_connection("127.0.0.1", encoder.port) for _ in range(100)]
    for _, writer in opened[50:]:
        writer.write(b"PRI * HTTP/2.0\r\n")  # the first half of a greeting
    slowest = await longest_wait(encoder, HANDSHAKE_S + 1)
    let_go = [await closed_within(reader, 3) for reader, _ in opened]
    for _, writer in opened:
        writer.close()
    assert all(let_go)
    assert slowest < PATIENCE_S
    assert sockets(encoder.pid) <= before + 4


async def test_half_sent_requests_are_given_up_and_others_are_served_meanwhile(encoder):
    memory = resident_mb(encoder.pid)
    calls = [await RawCall(ENCODE, body=HALF, end=False).send(encoder.address) for _ in range(200)]
    slowest, *answers = await asyncio.gather(
        longest_wait(encoder, LIMIT_S - 1), *(call.answer(within_s=LIMIT_S + 4) for call in calls)
    )
    for call in calls:
        call.close()
    assert {answer["grpc-status"] for answer in answers} == {str(grpc.StatusCode.DEADLINE_EXCEEDED.value[0])}
    assert slowest < PATIENCE_S
    assert resident_mb(encoder.pid) - memory < 100


async def test_answers_that_nobody_reads_stop_nobody_else(encoder):
    memory = resident_mb(encoder.pid)
    texts = encoder_pb2.EncodeTextRequest(texts=[f"a text, number {number}" for number in range(16)])
    data = texts.SerializeToString()
    body = b"\0" + len(data).to_bytes(4, "big") + data
    calls = [await RawCall(ENCODE, body=body, window=0).send(encoder.address) for _ in range(200)]
    slowest = await longest_wait(encoder, 4)
    assert slowest < PATIENCE_S
    assert resident_mb(encoder.pid) - memory < 100
    for call in calls:
        call.close()
    for _ in range(100):
        if sockets(encoder.pid) < 50:
            break
        await asyncio.sleep(0.05)
    assert sockets(encoder.pid) < 50


async def test_a_connection_that_opens_hundreds_of_calls_is_one_among_others(encoder):
    async with grpc.aio.insecure_channel(encoder.address) as channel:
        send = channel.unary_unary(ENCODE.decode())
        request = encoder_pb2.EncodeTextRequest(texts=["the same words"] * 4).SerializeToString()
        greedy = [asyncio.create_task(send(request, timeout=10).wait_for_connection()) for _ in range(800)]
        slowest = await longest_wait(encoder, 3)
        results = await asyncio.gather(*greedy, return_exceptions=True)
    codes = {result.code().name for result in results if isinstance(result, grpc.aio.AioRpcError)}
    assert codes <= {"RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}
    assert slowest < PATIENCE_S
