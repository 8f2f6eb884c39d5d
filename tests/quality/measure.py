"""Fills the collections through the services, asks, and counts where the right points came."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipsearch import AsyncClient, Client, EncoderClient, Point
from clipsearch.batches import batched
from clipsearch.client.inputs import Search
from clipsearch.client.retrying import Retrying
from clipsearch.eval.ask import rankings
from tests.quality.captioned import Captioned, changed
from tests.quality.cases import Case, Collection

TOP = 10
RETRY_S = 60.0
WRITTEN = 128  # points in one call

# How a case is asked: the default by what a caller has, the others by its vector, which finds the same.
WAYS: dict[str, Search] = {
    "default": {},
    "image": {"target": "image"},
    "text": {"target": "text"},
    "rrf": {"fusion": "rrf"},
    "dbsf": {"fusion": "dbsf"},
}

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Found:
    """Shares of the queries that found a right point first, and among the first ten."""

    r1: float
    r10: float


class Encoded:
    """The set, with a vector, float32 [512], of every image, caption, changed image and paraphrase."""

    def __init__(self, images: Sequence[Captioned], encoder: EncoderClient) -> None:
        self.set = images
        self.fingerprint = encoder.model().fingerprint
        self.changed = [changed(image.image) for image in images]
        self.images: Vectors = encoder.encode_images([image.image for image in images])
        self.captions: Vectors = encoder.encode_texts([image.caption for image in images])
        self.asked: dict[str, Vectors] = {
            "changed image": encoder.encode_images(self.changed),
            "paraphrase": encoder.encode_texts([image.paraphrase for image in images]),
        }


def fill(client: Client, encoded: Encoded, collection: Collection) -> None:
    """Makes the collection and writes its points, by their vectors."""
    client.create_collection(collection.name)
    points = [
        Point(
            id=id,
            image_vector=_at(encoded.images, collection.images.get(id)),
            text_vector=_at(encoded.captions, collection.captions.get(id)),
        )
        for id in {**collection.images, **collection.captions}
    ]
    for part in batched(points, WRITTEN):
        for result in client.upsert(collection.name, part, fingerprint=encoded.fingerprint):
            if result.error is not None:
                raise result.error


async def ask(client: AsyncClient, encoded: Encoded, case: Case) -> dict[str, Found]:
    """For each of WAYS, what every query of the case found."""
    calls = Retrying(RETRY_S)
    ranks: dict[str, list[int]] = {way: [] for way in WAYS}
    numbers = sorted(range(len(encoded.set)), key=case.collection)
    for collection, members in itertools.groupby(numbers, case.collection):
        part = list(members)
        for way, options in WAYS.items():
            searches: list[Search] = [
                {**options, **_query(encoded, case, number, by_vector=way != "default"), "limit": TOP}
                for number in part
            ]
            found = await rankings(client, calls, collection, searches)
            ranks[way] += [rank(ids, case.right(number)) for number, ids in zip(part, found, strict=True)]
    return {way: Found(share(found, 1), share(found, TOP)) for way, found in ranks.items()}


def _query(encoded: Encoded, case: Case, number: int, *, by_vector: bool) -> Search:
    if by_vector:
        return {"vector": encoded.asked[case.asks][number], "fingerprint": encoded.fingerprint}
    if case.asks == "changed image":
        return {"image": encoded.changed[number]}
    return {"text": encoded.set[number].paraphrase}


def rank(ids: Sequence[str], right: frozenset[str]) -> int:
    """The place, from 1, of the first right id; one behind the last that was asked for if none is."""
    return next((place for place, id in enumerate(ids, 1) if id in right), TOP + 1)


def share(ranks: Sequence[int], top: int) -> float:
    return sum(rank <= top for rank in ranks) / len(ranks)


def _at(vectors: Vectors, number: int | None) -> Vectors | None:
    return None if number is None else vectors[number]
