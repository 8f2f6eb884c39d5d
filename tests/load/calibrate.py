"""One client alone: recall beside its latency, and what the model costs, for `clipsearch plan`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from clipsearch import Client, EncoderClient
from clipsearch.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from tests.bench.encoder.corpus import query
from tests.load.pictures import base_pictures, picture
from tests.load.recording import difference
from tests.load.usage import cpu_seconds

_SEARCHES = 50
_FIRST_QUERY = 2**23 + 2**20
_TEXT_CALLS = {1: 60, 16: 12}
_IMAGE_CALLS = 24
_QUANTILES = np.linspace(0, 1, 21)


@dataclass(frozen=True, slots=True)
class Recall:
    """Of the ten nearest by exact search, the share that the index finds; median latencies, ms."""

    recall_at_10: float
    queries: int
    p50_ms: float
    exact_p50_ms: float


@dataclass(frozen=True, slots=True)
class Costs:
    """What the encoder and the store cost when nobody else asks.

    `texts` and `images`: CPU milliseconds by number of items in a call, in the event loop and in all
    other threads. `*_shape`: 21 quantiles of the time of a run of the session, and of a query of the
    store, over their mean.
    """

    texts: dict[int, dict[str, float]] = field(default_factory=dict)
    images: dict[int, dict[str, float]] = field(default_factory=dict)
    session_shape: list[float] = field(default_factory=list)
    store_shape: list[float] = field(default_factory=list)


def recall(client: Client, collection: str) -> tuple[Recall, list[float]]:
    """Compares the index with exact search; also gives the store's milliseconds of the searches."""
    found, store_ms = 0, []
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for number in range(_FIRST_QUERY, _FIRST_QUERY + _SEARCHES):
        ids = {}
        for exact in (True, False):  # the exact one first: it pays for the text's vector
            begun = time.perf_counter()
            result = client.search(collection, query(number), target="image", exact=exact)
            seconds[exact].append(time.perf_counter() - begun)
            ids[exact] = {hit.id for hit in result}
            if not exact:
                store_ms.append(result.store_ms)
        found += len(ids[True] & ids[False])
    p50_ms, exact_p50_ms = (float(np.median(seconds[exact])) * 1000 for exact in (False, True))
    return Recall(found / (10 * _SEARCHES), _SEARCHES, p50_ms, exact_p50_ms), store_ms


def costs(encoder: EncoderClient, pids: Mapping[str, int], store_ms: list[float]) -> Costs:
    """CPU of single calls to the encoder."""
    numbers = iter(range(_FIRST_QUERY + 2**16, 2**24))
    stub = encoder_pb2_grpc.EncoderServiceStub(encoder._channel)
    bases, result = base_pictures(), Costs(store_shape=_shape(store_ms))
    for size, calls in _TEXT_CALLS.items():
        requests = [
            encoder_pb2.EncodeTextRequest(texts=[query(next(numbers)) for _ in range(size)])
            for _ in range(calls)
        ]
        before = cpu_seconds(pids)
        infer_ms = [stub.EncodeText(request).timings.infer_ms for request in requests]
        result.texts[size] = _per_call(before, pids, calls)
        if size == 1:
            result.session_shape.extend(_shape(infer_ms))
    before = cpu_seconds(pids)
    for _ in range(_IMAGE_CALLS):
        stub.EncodeImage(encoder_pb2.EncodeImageRequest(images=[picture(bases, next(numbers))]))
    result.images[1] = _per_call(before, pids, _IMAGE_CALLS)
    return result


def _per_call(before: dict[str, float], pids: Mapping[str, int], calls: int) -> dict[str, float]:
    spent = difference(before, cpu_seconds(pids))
    return {part: spent[f"encoder.{part}"] / calls * 1000 for part in ("loop", "rest")}


def _shape(samples: list[float]) -> list[float]:
    return [round(float(value), 4) for value in np.quantile(samples, _QUANTILES) / np.mean(samples)]
