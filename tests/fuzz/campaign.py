"""A run: inputs made from a seed, sent in chunks, each answer judged; after each chunk a look at health."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from grpc_status import rpc_status

from clipsearch.encoder.v1 import encoder_pb2
from clipsearch.search.v1 import search_pb2
from tests.fuzz import frames, giants, messages, pictures, wire
from tests.fuzz.messages import COLLECTION
from tests.fuzz.rpcs import ENCODER, SEARCH, by_path, methods, path, process_of, response_class
from tests.fuzz.stage import Stage
from tests.fuzz.verdict import Answer, problems

CHUNK = 500
IN_FLIGHT = 8
# No input may take this long; one that does hangs.
DEADLINE_S = 60.0
# Shares of a run. An image is an input of its own, up to four of them share a call.
SHARES = {"message": 0.30, "wire": 0.345, "picture": 0.31, "connection": 0.04, "giant": 0.005}
_PICTURES_A_CALL = 4
_IMAGE = "/clipsearch.encoder.v1.EncoderService/EncodeImage"
_CLASSIFY = "/clipsearch.encoder.v1.EncoderService/Classify"
_SEARCH = "/clipsearch.search.v1.SearchService/Search"
_UPSERT = "/clipsearch.search.v1.SearchService/Upsert"
_MESSAGE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Input:
    """One call: which, with what bytes, and how many inputs it counts for.

    Of the kind `connection` it is what one connection sends, and `method` the process that it goes to.
    """

    kind: str
    method: str
    data: bytes
    count: int = 1


@dataclass(slots=True)
class Result:
    """What a run has seen."""

    inputs: Counter[str] = field(default_factory=Counter)
    calls: dict[str, Counter[str]] = field(default_factory=dict)
    failures: list[dict[str, Any]] = field(default_factory=list)

    def note(self, sent: Input, answer: Answer) -> None:
        self.inputs[sent.kind] += sent.count
        name = sent.method.rpartition("/")[2]
        self.calls.setdefault(name, Counter())[answer.code] += 1
        for problem in problems(answer):
            self.failures.append(
                {"problem": problem, "kind": sent.kind, "method": sent.method, "hex": sent.data.hex()}
            )


def chunks(total: int, seed: int) -> Iterator[list[Input]]:
    """The inputs of a run, in an order that mixes all kinds; the same for the same seed."""
    every = [method for process in (ENCODER, SEARCH) for method in methods(process)]
    count = max(1, -(-total // CHUNK))
    structured = {
        path(method): messages.generate(
            method.input_type, max(4, round(total * SHARES["message"] / len(every))), seed
        )
        for method in every
    }
    for number in range(count):
        rng = random.Random(f"{seed}/{number}")
        size = min(CHUNK, total - number * CHUNK)
        made = [
            Input("message", name, data)
            for name, corpus in structured.items()
            for data in corpus[number::count]
        ]
        made += [_damaged(rng, every, structured) for _ in range(round(size * SHARES["wire"]))]
        made += [
            Input("connection", rng.choice([ENCODER, SEARCH]), frames.hostile_bytes(rng))
            for _ in range(round(size * SHARES["connection"]))
        ]
        made += [_giant(rng) for _ in range(round(size * SHARES["giant"]))]
        while (left := size - sum(sent.count for sent in made)) > 0:
            made.append(_with_pictures(rng, min(left, rng.randint(1, _PICTURES_A_CALL))))
        rng.shuffle(made)
        yield made


def _damaged(
    rng: random.Random, every: Sequence[MethodDescriptor], corpora: Mapping[str, Sequence[bytes]]
) -> Input:
    """A damaged request of a method, sometimes sent to another one."""
    name = path(rng.choice(every))
    corpus = corpora[name if rng.random() < 0.9 else path(rng.choice(every))]
    return Input("wire", name, wire.mutated(rng, corpus))


def _giant(rng: random.Random) -> Input:
    """A small file or message that would take gigabytes; of files two at once."""
    name = rng.choice([*giants.IMAGES, *giants.MESSAGES])
    if name in giants.MESSAGES:
        method, data = giants.MESSAGES[name]
        return Input("giant", method, data())
    request = encoder_pb2.EncodeImageRequest(images=[giants.IMAGES[name]()] * 2)
    return Input("giant", _IMAGE, request.SerializeToString())


def _with_pictures(rng: random.Random, count: int) -> Input:
    files = [pictures.mutated(rng) for _ in range(count)]
    method = rng.choice([_IMAGE, _IMAGE, _IMAGE, _CLASSIFY, _SEARCH, _UPSERT])
    request: Message
    if method == _IMAGE:
        request = encoder_pb2.EncodeImageRequest(images=files)
    elif method == _CLASSIFY:
        request = encoder_pb2.ClassifyRequest(images=files, labels=["cat", "dog"])
    elif method == _SEARCH:
        terms = [search_pb2.QueryTerm(image=data) for data in files]
        request = search_pb2.SearchRequest(collection=COLLECTION, query=terms)
    else:
        points = [search_pb2.Point(id=f"p{rng.randrange(60)}", image=data) for data in files]
        request = search_pb2.UpsertRequest(collection=COLLECTION, points=points)
    return Input("picture", method, request.SerializeToString(), count)


async def send_all(stage: Stage, sent: Sequence[Input], result: Result) -> None:
    """Sends the inputs, a few at a time, and notes what came back."""
    options = [
        ("grpc.max_receive_message_length", _MESSAGE_BYTES),
        ("grpc.max_send_message_length", _MESSAGE_BYTES),
    ]
    queue = iter(sent)
    async with (
        grpc.aio.insecure_channel(stage.addresses[ENCODER], options=options) as encoder,
        grpc.aio.insecure_channel(stage.addresses[SEARCH], options=options) as search,
    ):
        channels = {ENCODER: encoder, SEARCH: search}

        async def worker() -> None:
            for one in queue:
                if one.kind == "connection":
                    await frames.strike(stage.addresses[one.method], one.data)
                    result.inputs[one.kind] += one.count
                    continue
                result.note(one, await _call(channels[process_of(by_path(one.method))], one))

        await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))


async def _call(channel: grpc.aio.Channel, sent: Input) -> Answer:
    try:
        call: Callable[..., Awaitable[bytes]] = channel.unary_unary(sent.method)
        data = await call(sent.data, timeout=DEADLINE_S)
    except grpc.aio.AioRpcError as error:
        return Answer(error.code().name, error.details() or "", rpc_status.from_call(error))  # type: ignore[arg-type]
    return Answer("OK", message=response_class(by_path(sent.method)).FromString(data))
