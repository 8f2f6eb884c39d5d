"""Upsert: points become vectors, vectors go to the store, and each point is told what became of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from clipsearch.serving.errors import InvalidArgument, ServiceError
from search_service.collections import check_fingerprint
from search_service.deadline import Deadline
from search_service.encoder_client import Encoded, Encoder, Outcome
from search_service.places import at
from search_service.stores.protocol import CollectionSpec, StoredPoint, Vector, VectorStore
from search_service.vectors import check_dimension


@dataclass(frozen=True, slots=True)
class NewPoint:
    """A point to write: a picture (bytes) or a ready vector, words (str) or a ready vector; or both.

    Ready vectors are normalised float32 [dimension].
    """

    id: str
    payload: dict[str, Any]
    image: bytes | Vector | None = None
    text: str | Vector | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """The point is in the store, or a later point of the same request with its id is."""

    tokens_dropped: int = 0


WriteResult: TypeAlias = Written | ServiceError
_Side: TypeAlias = Outcome | Vector | None


class Upsert:
    """Writes points. `store_timeout_s` is the longest wait for one answer of the store."""

    def __init__(self, store: VectorStore, encoder: Encoder, store_timeout_s: float) -> None:
        self._store = store
        self._encoder = encoder
        self._store_timeout_s = store_timeout_s

    async def upsert(
        self,
        collection: str,
        points: Sequence[NewPoint | ServiceError],
        *,
        wait: bool,
        fingerprint: str,
        deadline: Deadline,
    ) -> list[WriteResult]:
        """One result a point, in order. A point that is an error already keeps it.

        Of several good points with one id the last is written. Raises NotFound,
        FingerprintMismatch and what the encoder and the store raise; then nothing was written.
        """
        spec = await self._store.resolve(collection, timeout=deadline.left(self._store_timeout_s))
        if fingerprint:
            check_fingerprint(spec, fingerprint, "the request")
        vectors = await self._vectors(points, spec, deadline)
        ready: dict[str, StoredPoint] = {}
        results: list[WriteResult] = []
        for i, (point, (image, text)) in enumerate(zip(points, vectors, strict=True)):
            try:
                stored = _assembled(point, image, text, spec, f"points[{i}]")
            except ServiceError as error:
                results.append(error)
            else:
                ready[stored.id] = stored
                results.append(Written(text.tokens_dropped if isinstance(text, Encoded) else 0))
        if ready:
            await self._store.upsert(
                spec.name,
                list(ready.values()),
                wait=wait,
                timeout=deadline.left(self._store_timeout_s),
            )
        return results

    async def _vectors(
        self, points: Sequence[NewPoint | ServiceError], spec: CollectionSpec, deadline: Deadline
    ) -> list[tuple[_Side, _Side]]:
        """Image and text of each point, encoded unless they are vectors already. One encoder call a kind."""
        good = [point for point in points if isinstance(point, NewPoint)]
        to_read = [point.text for point in good if isinstance(point.text, str)]
        to_see = [point.image for point in good if isinstance(point.image, bytes)]
        texts: Iterator[Outcome] = iter(())
        images: Iterator[Outcome] = iter(())
        if to_read or to_see:
            encoding = await self._encoder.encode(to_read, to_see, deadline)
            check_fingerprint(spec, encoding.fingerprint, "the encoder")
            texts, images = iter(encoding.texts), iter(encoding.images)

        def sides(point: NewPoint | ServiceError) -> tuple[_Side, _Side]:
            if isinstance(point, ServiceError):
                return None, None
            return (
                next(images) if isinstance(point.image, bytes) else point.image,
                next(texts) if isinstance(point.text, str) else point.text,
            )

        return [sides(point) for point in points]


def _assembled(
    point: NewPoint | ServiceError, image: _Side, text: _Side, spec: CollectionSpec, place: str
) -> StoredPoint:
    """The point as it is stored. Raises what is wrong with it."""
    if isinstance(point, ServiceError):
        raise point
    return StoredPoint(
        id=point.id,
        payload=point.payload,
        image=_vector(image, spec, f"{place}.image"),
        text=_vector(text, spec, f"{place}.text"),
    )


def _vector(side: _Side, spec: CollectionSpec, place: str) -> Vector | None:
    if side is None:
        return None
    if isinstance(side, InvalidArgument):
        raise at(side, place)
    if isinstance(side, Encoded):
        check_dimension(side.vector, spec, place)
        return side.vector
    check_dimension(side, spec, f"{place}_vector")
    return side
