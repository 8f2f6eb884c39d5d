"""The client of the benchmark: pictures over many connections, from a process of its own."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import grpc
import numpy as np

from clipsearch.encoder.v1 import encoder_pb2 as pb
from clipsearch.encoder.v1 import encoder_pb2_grpc
from clipsearch.encoder.v1.vector_pb2 import VECTOR_FORMAT_F32_BYTES
from tests.bench.encoder.corpus import small_pictures, stamped
from tests.bench.frontends.stand_in import SIZE

Kind = Literal["jpeg", "raw"]
RAW_IN_A_CALL = 16
DEADLINE_S = 60.0


def pictures_in(address: str, kind: Kind, corpus: Path, connections: int, calls: int, seconds: float) -> int:
    """Sends for so many seconds, `calls` at a time on each connection; returns the pictures answered."""
    return asyncio.run(_send(address, _requests(kind, corpus), connections, calls, seconds))


def _requests(kind: Kind, corpus: Path) -> Callable[[int], pb.EncodeImageRequest]:
    if kind == "raw":
        pixels = np.random.default_rng(0).integers(0, 256, (RAW_IN_A_CALL, SIZE, SIZE, 3), np.uint8)
        raw = pb.RawPixels(rgb=pixels.tobytes(), count=RAW_IN_A_CALL)
        request = pb.EncodeImageRequest(raw=raw, format=VECTOR_FORMAT_F32_BYTES)
        return lambda number: request
    pictures: Sequence[bytes] = small_pictures(corpus)

    def jpeg(number: int) -> pb.EncodeImageRequest:
        picture = stamped(pictures[number % len(pictures)], number)
        return pb.EncodeImageRequest(images=[picture], format=VECTOR_FORMAT_F32_BYTES)

    return jpeg


async def _send(
    address: str,
    request: Callable[[int], pb.EncodeImageRequest],
    connections: int,
    calls: int,
    seconds: float,
) -> int:
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
    channels = [grpc.aio.insecure_channel(address, options) for _ in range(connections)]
    await asyncio.gather(*(channel.channel_ready() for channel in channels))
    numbers, answered = itertools.count(), 0
    end = time.monotonic() + seconds

    async def caller(channel: grpc.aio.Channel) -> None:
        nonlocal answered
        stub = encoder_pb2_grpc.EncoderServiceStub(channel)
        while time.monotonic() < end:
            answer = await stub.EncodeImage(request(next(numbers)), timeout=DEADLINE_S)
            answered += len(answer.embeddings)

    await asyncio.gather(*(caller(channel) for channel in channels for _ in range(calls)))
    await asyncio.gather(*(channel.close() for channel in channels))
    return answered
