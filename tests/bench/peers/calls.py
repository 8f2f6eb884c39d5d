"""The client of both systems: the same items, the same loop; only the transport is each one's own."""

from __future__ import annotations

import asyncio
import base64
import functools
import itertools
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx
import numpy as np
from numpy.typing import NDArray

from clipsearch import AsyncEncoderClient, ClipSearchError
from encoder_service.bundle import Tower
from tests.bench.encoder import corpus
from tests.bench.load import BadAnswer, Send, closed_loop
from tests.bench.peers.infinity import MODEL
from tests.bench.summary import Summary, summarise_closed

TIMEOUT_S = 60.0
System = Literal["clipsearch", "infinity"]
Item = str | bytes
Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Pattern:
    """A closed loop: so many clients, each with one call of so many items in flight."""

    clients: int
    items: int

    def __str__(self) -> str:
        return f"{self.clients} client{'s' * (self.clients > 1)}, {self.items} a call"


@dataclass(frozen=True, slots=True)
class Load:
    """What to send where, and for how long. Loads with other numbers from `first` on send other items."""

    system: System
    address: str
    corpus: Path
    tower: Tower
    pattern: Pattern
    first: int
    warm_s: float
    seconds: float


def run_load(load: Load) -> Summary:
    """Makes the load; returns its summary (in calls)."""
    _pictures(load.corpus)
    return asyncio.run(_run(load))


def vectors(system: System, address: str, tower: Tower, items: list[Item]) -> Vectors:
    """The items' vectors, float32 [items, dimension], for comparing the two systems' answers."""

    async def ask() -> Vectors:
        async with AsyncExitStack() as stack:
            found: Vectors = await (await _opened(stack, system, address, tower))(items)
            return found

    return asyncio.run(ask())


def items(folder: Path, tower: Tower, first: int, count: int) -> list[Item]:
    """Items by number: no two calls of a run send the same bytes."""
    numbers = range(first, first + count)
    if tower == "text":
        return [corpus.query(number) for number in numbers]
    pictures = _pictures(folder)
    return [corpus.stamped(pictures[number % len(pictures)], number) for number in numbers]


async def _run(load: Load) -> Summary:
    async with AsyncExitStack() as stack:
        encode = await _opened(stack, load.system, load.address, load.tower)
        end_s = load.warm_s + load.seconds
        calls = await closed_loop(_sender(encode, load), itertools.count(), load.pattern.clients, end_s)
        return summarise_closed(calls, load.warm_s, end_s, TIMEOUT_S)


def _sender(encode: Callable[[list[Item]], Any], load: Load) -> Send:
    async def send(number: int) -> None:
        count = load.pattern.items
        sent = items(load.corpus, load.tower, load.first + number * count, count)
        try:
            answer = await encode(sent)
        except (ClipSearchError, httpx.HTTPError) as error:
            raise BadAnswer(type(error).__name__) from error
        if len(answer) != count:
            raise BadAnswer(f"{len(answer)} vectors for {count} items")

    return send


async def _opened(
    stack: AsyncExitStack, system: System, address: str, tower: Tower
) -> Callable[[list[Item]], Any]:
    if system == "clipsearch":
        client = await stack.enter_async_context(AsyncEncoderClient(address, timeout=TIMEOUT_S))
        encode: Any = client.encode_texts if tower == "text" else client.encode_images
        return encode  # type: ignore[no-any-return]
    limits = httpx.Limits(max_connections=None)
    http = await stack.enter_async_context(
        httpx.AsyncClient(timeout=TIMEOUT_S, limits=limits, trust_env=False)
    )

    async def over_http(sent: list[Item]) -> Vectors:
        # base64: the shortest form that it takes and gives.
        body = {
            "model": MODEL,
            "modality": tower,
            "encoding_format": "base64",
            "input": [item if isinstance(item, str) else _data_uri(item) for item in sent],
        }
        answer = await http.post(f"{address}/embeddings", json=body)
        if answer.status_code != 200:
            raise BadAnswer(f"HTTP {answer.status_code}")
        data = answer.json()["data"]
        return np.stack([np.frombuffer(base64.b64decode(one["embedding"]), "<f4") for one in data])

    return over_http


def _data_uri(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}"


@functools.cache
def _pictures(folder: Path) -> list[bytes]:
    return corpus.small_pictures(folder)
