"""The service on the card: raw pixels in and JPEGs in, from client processes of their own."""

from __future__ import annotations

import asyncio
import time
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
from tests.bench.rig import Rig

Kind = Literal["raw", "jpeg"]

_IN_A_CALL = {"raw": 128, "jpeg": 32}
_IN_FLIGHT = 8
_WARM_S = 2.0


def measure(
    bundle: Path,
    corpus: Path,
    folder: Path,
    provider: str,
    clients: int,
    seconds: float,
    console: Console,
    **environment: str,
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
            **environment,
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
        done, number = 0, first * 10_000_000
        begin = time.perf_counter() + _WARM_S

        async def one_after_the_other() -> None:
            nonlocal done, number
            while (now := time.perf_counter()) < begin + seconds:
                request = raw
                if kind == "jpeg":
                    numbers, number = range(number, number + count), number + count
                    request = pb.EncodeImageRequest(
                        images=[stamped(jpegs[n % len(jpegs)], n) for n in numbers],
                        format=VECTOR_FORMAT_F32_BYTES,
                    )
                answer = await stub.EncodeImage(request, timeout=60)
                if now >= begin:
                    done += sum(embedding.HasField("vector") for embedding in answer.embeddings)

        await asyncio.gather(*(one_after_the_other() for _ in range(_IN_FLIGHT)))
        return done / (time.perf_counter() - begin)
