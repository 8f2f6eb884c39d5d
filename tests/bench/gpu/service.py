"""The service on the card: raw pixels in and JPEGs in, from client processes of their own."""

from __future__ import annotations

import asyncio
import itertools
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Literal

import grpc
import numpy as np
from rich.console import Console

from clipsearch.encoder.v1 import encoder_pb2 as pb
from clipsearch.encoder.v1 import encoder_pb2_grpc
from clipsearch.encoder.v1.vector_pb2 import VECTOR_FORMAT_F32_BYTES
from tests.bench.encoder.corpus import small_pictures, stamped
from tests.bench.load import BadAnswer, closed_loop
from tests.bench.rig import Rig
from tests.bench.summary import summarise_closed

Kind = Literal["raw", "jpeg"]

_IN_A_CALL = {"raw": 128, "jpeg": 32}
_IN_FLIGHT = 8
_WARM_S = 2.0
_TIMEOUT_S = 60.0


def measure(
    bundle: Path,
    corpus: Path,
    folder: Path,
    provider: str,
    clients: int,
    seconds: float,
    console: Console,
) -> dict[Kind, float]:
    """Images a second, of each kind, that a service answers to `clients` processes at once.

    `corpus` holds the JPEGs, `folder` gets the service's log.
    """
    rates: dict[Kind, float] = {}
    with Rig(folder, console) as rig:
        service = rig.start_service(
            "encoder",
            "encoder",
            ENCODER_MODEL=str(bundle),
            ENCODER_PROVIDER=provider,
            ENCODER_MAX_IMAGES="1024",
            ENCODER_QUEUE_IMAGES="8192",
            ENCODER_QUEUE_BYTES=str(4 * 2**30),
        )
        for kind in ("raw", "jpeg"):
            loads: list[Future[float]] = [
                rig.submit(f"client {n}", load, service.address, kind, corpus, n, seconds)
                for n in range(clients)
            ]
            rates[kind] = sum(future.result(seconds + 120) for future in loads)
            rig.say(f"service, {kind}: {rates[kind]:.0f} images/s")
    return rates


def load(address: str, kind: Kind, corpus: Path, first: int, seconds: float) -> float:
    """Images a second that this process got vectors for."""
    return asyncio.run(_load(address, kind, corpus, first, seconds))


async def _load(address: str, kind: Kind, corpus: Path, first: int, seconds: float) -> float:
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        stub: Any = encoder_pb2_grpc.EncoderServiceStub(channel)
        size = (await stub.GetModel(pb.GetModelRequest(), timeout=30)).image_size
        count = _IN_A_CALL[kind]
        jpegs = small_pictures(corpus) if kind == "jpeg" else []
        pixels = np.random.default_rng(first).integers(0, 256, count * size * size * 3, dtype=np.uint8)
        raw = pb.EncodeImageRequest(
            raw=pb.RawPixels(rgb=pixels.tobytes(), count=count), format=VECTOR_FORMAT_F32_BYTES
        )

        async def send(number: int) -> None:
            request = raw
            if kind == "jpeg":
                numbers = range(number * count, (number + 1) * count)
                request = pb.EncodeImageRequest(
                    images=[stamped(jpegs[n % len(jpegs)], n) for n in numbers],
                    format=VECTOR_FORMAT_F32_BYTES,
                )
            answer = await stub.EncodeImage(request, timeout=_TIMEOUT_S)
            if not all(embedding.HasField("vector") for embedding in answer.embeddings):
                raise BadAnswer("an embedding without a vector")

        end_s = _WARM_S + seconds
        calls = await closed_loop(send, itertools.count(first * 1_000_000), _IN_FLIGHT, end_s)
    summary = summarise_closed(calls, _WARM_S, end_s, _TIMEOUT_S)
    if summary.errors:
        raise RuntimeError(f"not all calls were answered: {summary.errors}")
    return summary.ok_per_s * count
