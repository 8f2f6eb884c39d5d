"""Fills the collection that is searched: vectors of the model itself, spread out, with a small payload."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from clipsearch import Client, ClipSearchError, Point
from clipsearch.client.types import Collection
from tests.bench.encoder.corpus import query
from tests.load.pictures import base_pictures
from tests.load.scenarios import payload, point_id
from tests.load.settings import Settings

_BASES = 192  # texts that the model itself encodes; all vectors are made from them and the images
_FIRST_QUERY = 2**23  # away from the numbers that are searched
_A_CALL = 256
# The share of noise in a made vector: neighbours are near, none alike.
_NOISE = 0.6
# Of the run's time: a machine that is not busy needs a few seconds.
_INDEX_WAIT_SHARE = 0.3


@contextmanager
def collection(client: Client, settings: Settings) -> Iterator[Collection]:
    """The filled collection, deleted again when the block ends.

    One that is there already under the name is used as it is if it has the points. Raises ClipSearchError.
    """
    try:
        found = client.get_collection(settings.collection)
    except ClipSearchError as error:
        if error.reason != "COLLECTION_NOT_FOUND":
            raise
        found = None
    if found is not None and found.points < settings.points:
        raise ValueError(
            f"collection {settings.collection!r} is there with {found.points} points, "
            f"{settings.points} are asked for; delete it, or name another with --collection"
        )
    try:
        if found is None:
            _fill(client, settings)
        yield _indexed(client, settings)
    finally:
        if found is None:
            client.delete_collection(settings.collection)


def _fill(client: Client, settings: Settings) -> None:
    client.create_collection(settings.collection, payload_indexes={"category": "keyword", "price": "float"})
    bases = _bases(client, settings.collection)
    for first in range(0, settings.points, _A_CALL):
        numbers = range(first, min(first + _A_CALL, settings.points))
        vectors = made_vectors(bases, numbers)
        points = [
            Point(point_id(number), image_vector=vector, payload=payload(number))
            for number, vector in zip(numbers, vectors, strict=True)
        ]
        failed = [result for result in client.upsert(settings.collection, points) if result.error]
        if failed:
            raise failed[0].error or RuntimeError(failed[0].id)


def made_vectors(bases: NDArray[np.float32], numbers: range) -> NDArray[np.float32]:
    """float32 [numbers, dimension], not normalised: two of the bases mixed, and noise."""
    rng = np.random.default_rng(numbers.start)
    pairs = rng.integers(0, len(bases), (2, len(numbers)))
    shares = rng.uniform(0.5, 1.0, (len(numbers), 1)).astype(np.float32)
    noise = rng.standard_normal((len(numbers), bases.shape[1]), dtype=np.float32)
    mixed: NDArray[np.float32] = shares * bases[pairs[0]] + (1 - shares) * bases[pairs[1]]
    mixed += _NOISE * noise / np.sqrt(np.float32(bases.shape[1]))
    return mixed


def _bases(client: Client, name: str) -> NDArray[np.float32]:
    """Vectors of texts and images, by the search service alone: the encoder may be out of reach."""
    texts = [Point(f"base-text-{i}", text=query(_FIRST_QUERY + i)) for i in range(_BASES)]
    pictures = [Point(f"base-image-{i}", image=data) for i, data in enumerate(base_pictures())]
    ids = [point.id for point in (*texts, *pictures)]
    for part in (texts[: _BASES // 2], texts[_BASES // 2 :], pictures):
        client.upsert(name, part)
    stored = client.get_points(name, ids, with_vectors=True)
    client.delete_points(name, ids)
    vectors = [p.image_vector if p.image_vector is not None else p.text_vector for p in stored]
    return np.stack([vector for vector in vectors if vector is not None])


def _indexed(client: Client, settings: Settings) -> Collection:
    """The collection once its index is built, or after a while; a small one is searched exactly."""
    end = time.monotonic() + _INDEX_WAIT_SHARE * settings.seconds
    while True:
        found = client.get_collection(settings.collection)
        if found.indexed_share >= 1 or found.points < 20_000 or time.monotonic() > end:
            return found
        time.sleep(0.25)
