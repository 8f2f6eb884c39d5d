"""The benchmark's client: makes one load on an encoder and sums it up. Runs in a process of its own."""

from __future__ import annotations

import asyncio
import functools
import gc
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import grpc

from clipsearch.encoder.v1 import encoder_pb2 as pb
from clipsearch.encoder.v1 import encoder_pb2_grpc
from clipsearch.encoder.v1.vector_pb2 import VECTOR_FORMAT_F32_BYTES
from tests.bench.encoder import corpus
from tests.bench.load import BadAnswer, Send, closed_loop, open_loop, poisson
from tests.bench.summary import Summary, summarise_closed, summarise_open

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
TEXTS_IN_A_BATCH = 16

Kind = Literal["text", "image", "mixed"]


@dataclass(frozen=True, slots=True)
class Closed:
    """So many clients, each with one call in flight. `calls` ends the load early; None = time only."""

    clients: int
    calls: int | None = None


@dataclass(frozen=True, slots=True)
class Open:
    """So many calls a second at random moments, as independent callers make them."""

    rate: float


@dataclass(frozen=True, slots=True)
class Load:
    """What to send where, and for how long.

    Calls are numbered from `first`; loads with other numbers send other texts and other image
    bytes. `deadline_s` travels with each call, and is what "in time" means in the summary.
    """

    address: str
    corpus: Path
    kind: Kind
    pattern: Closed | Open
    first: int
    deadline_s: float
    warm_s: float
    seconds: float


def run_load(load: Load) -> Summary:
    """Makes the load; blocks until its last call is answered or past its deadline."""
    make = _requests(load.corpus)[load.kind]
    gc.collect()
    gc.freeze()  # the images: not to be walked through in the middle of a measurement
    return asyncio.run(_run(load, make))


Request = pb.EncodeTextRequest | pb.EncodeImageRequest
MakeRequest = Callable[[int], Request]


async def _run(load: Load, make: MakeRequest) -> Summary:
    options = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.enable_http_proxy", 0),
        ("grpc.use_local_subchannel_pool", 1),  # a connection of its own, as a new client has
    ]
    async with grpc.aio.insecure_channel(load.address, options=options) as channel:
        await asyncio.wait_for(channel.channel_ready(), timeout=10)
        send = _sender(encoder_pb2_grpc.EncoderServiceStub(channel), make, load.deadline_s)
        return await _measure(load, send)


async def _measure(load: Load, send: Send) -> Summary:
    end_s = load.warm_s + load.seconds
    numbers: Iterator[int] = itertools.count(load.first)
    if isinstance(load.pattern, Open):
        calls = await open_loop(send, numbers, poisson(load.pattern.rate, end_s, seed=load.first))
        return summarise_open(calls, load.warm_s, end_s, load.deadline_s)
    if load.pattern.calls is not None:
        numbers = itertools.islice(numbers, load.pattern.calls)
    calls = await closed_loop(send, numbers, load.pattern.clients, end_s)
    last_s = max(call.end_s for call in calls)
    return summarise_closed(calls, load.warm_s, min(end_s, last_s), load.deadline_s)


def _sender(stub: Any, make: MakeRequest, deadline_s: float) -> Send:
    async def send(number: int) -> None:
        request = make(number)
        if isinstance(request, pb.EncodeTextRequest):
            answer = await stub.EncodeText(request, timeout=deadline_s)
            expected = len(request.texts)
        else:
            answer = await stub.EncodeImage(request, timeout=deadline_s)
            expected = len(request.images)
        _check(answer, expected)

    return send


def _check(answer: pb.EncodeTextResponse | pb.EncodeImageResponse, expected: int) -> None:
    if len(answer.embeddings) != expected:
        raise BadAnswer(f"{len(answer.embeddings)} embeddings for {expected} inputs")
    for embedding in answer.embeddings:
        if embedding.WhichOneof("result") == "error":
            raise BadAnswer(f"item: {embedding.error.message}")
        if not embedding.vector.f32:
            raise BadAnswer("an embedding without f32 bytes")


@functools.cache
def _requests(folder: Path) -> dict[Kind, MakeRequest]:
    """How the request of a number is made, for each kind. Reads the images once a process."""
    small, large = corpus.small_pictures(folder), corpus.large_pictures(folder)

    def texts(number: int, count: int = 1) -> Request:
        first = number * TEXTS_IN_A_BATCH
        queries = [corpus.query(first + place) for place in range(count)]
        return pb.EncodeTextRequest(texts=queries, format=VECTOR_FORMAT_F32_BYTES)

    def picture(number: int, pictures: Sequence[bytes]) -> Request:
        jpeg = corpus.stamped(pictures[number % len(pictures)], number)
        return pb.EncodeImageRequest(images=[jpeg], format=VECTOR_FORMAT_F32_BYTES)

    def mixed(number: int) -> Request:
        """One in five an image, one in a hundred a large one; one in ten a batch of texts."""
        if number % 5 == 0:
            return picture(number, large if number % 100 == 0 else small)
        return texts(number, TEXTS_IN_A_BATCH if number % 10 == 1 else 1)

    return {
        "text": texts,
        "image": lambda number: picture(number, small),
        "mixed": mixed,
    }
