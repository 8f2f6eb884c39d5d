"""Upsert: points become vectors, vectors go to the store, and each point is told what became of it.

Where the collection has a successor the same goes on for that one, with its own model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np

from clipsearch.serving.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ServiceError,
)
from clipsearch.serving.together import together
from search_service.encoder.client import Encoded, Encoding, Outcome
from search_service.encoder.encoders import Encoders
from search_service.query.calibration_cache import CalibrationCache
from search_service.stores.checks import check_dimension, check_fingerprint
from search_service.stores.codec import vector_names_of
from search_service.stores.collection import CollectionSpec
from search_service.stores.protocol import (
    VECTOR_NAMES,
    StoredPoint,
    Vector,
    VectorName,
    VectorStore,
)
from search_service.write.successors import Chain, Successors, on_successor


@dataclass(frozen=True, slots=True)
class NewPoint:
    """A point to write: an image (bytes) or a ready vector, words (str) or a ready vector; or both.

    Ready vectors are normalised float32 [dimension].
    """

    id: str
    payload: dict[str, Any]
    image: bytes | Vector | None = None
    text: str | Vector | None = None


@dataclass(frozen=True, slots=True)
class Write:
    """What is to be written. A point that is an error already keeps it.

    `wait`: until it is durable and findable; `insert_only`: points that are there stay as they are;
    `fingerprint`: of the model of its ready vectors, "" = not said; `vectors_only`: points that are there get
    these vectors, and keep the others and their payload; no id comes twice.
    """

    collection: str
    points: Sequence[NewPoint | ServiceError]
    wait: bool
    insert_only: bool
    fingerprint: str
    vectors_only: bool = False


@dataclass(frozen=True, slots=True)
class Written:
    """The point is in the store, or a later point of the same request with its id is.

    `skipped`: it was there before and was left as it is. `lacking`: why the successor has no such point.
    """

    tokens_dropped: int = 0
    skipped: bool = False
    lacking: ServiceError | None = None


WriteResult: TypeAlias = Written | ServiceError
_Given: TypeAlias = Outcome | Vector | None
_NAMES: tuple[tuple[VectorName, ...], ...] = (("image",), ("text",), ("image", "text"))


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A point as it is to be stored, and the tokens that its text lost."""

    point: StoredPoint
    tokens_dropped: int


_Outcome: TypeAlias = _Prepared | ServiceError


@dataclass(slots=True)
class _Job:
    """A write on its way. `there`: ids of its points that are there already, which need no vectors.

    `prepared`: by fingerprint, what is to be stored for each point.
    """

    write: Write
    there: frozenset[str] = frozenset()
    prepared: dict[str, list[_Outcome]] = field(default_factory=dict)


class Upsert:
    """Writes points."""

    def __init__(
        self,
        store: VectorStore,
        encoders: Encoders,
        successors: Successors,
        calibrations: CalibrationCache,
    ) -> None:
        self._store = store
        self._calibrations = calibrations
        self._encoders = encoders
        self._successors = successors

    async def upsert(self, write: Write) -> list[WriteResult]:
        """One result a point, in order.

        Of several good points with one id the last is written; with `insert_only` none that is there, and
        none that is not the caller's to replace: AlreadyExists.
        Raises NotFound, FingerprintMismatch and what the encoder and the store raise; then nothing
        was written, or, if the error says so, nothing on the successor. Where a successor came while it was
        written it goes to that one as well, and to the collection again, unless with `insert_only`.
        """
        job, collection, own = _Job(write), write.collection, ""
        done: list[WriteResult] = []
        while True:
            chain = await self._successors.chain(collection)
            if write.fingerprint:
                check_fingerprint(chain[0], write.fingerprint, "the request")
            job.there = frozenset()
            if write.insert_only and not done:
                ids = list({point.id for point in write.points if isinstance(point, NewPoint)})
                if ids:
                    job.there = await self._store.present(chain[0].name, ids)
                job.prepared.clear()  # what was there may be gone
            if chain[0].fingerprint != own:
                job.prepared.clear()  # an alias has moved
            own = chain[0].fingerprint
            await self._prepare(chain, job)
            async with self._successors.writing(collection, chain) as unchanged:
                if not unchanged:
                    continue
                if done and write.insert_only:
                    done = await self._copy_late(chain, job, done)
                else:
                    done = _merged(done, await self._write(chain, job))
            if not await self._successors.unheard(chain):
                return done
            collection = chain[0].name

    async def _prepare(self, chain: Chain, job: _Job) -> None:
        """Prepares the points for the models for which they are not yet."""
        missing = {spec.fingerprint: spec for spec in reversed(chain) if spec.fingerprint not in job.prepared}
        own, points = chain[0].fingerprint, job.write.points
        made = await together(
            [
                self._encoded(points if print == own else _for_successor(points), spec, job)
                for print, spec in missing.items()
            ]
        )
        job.prepared.update(zip(missing, made, strict=True))

    async def _write(self, chain: Chain, job: _Job) -> list[WriteResult]:
        """Writes what is ready, first to the collection, then to its successors."""
        write, own = job.write, job.prepared[chain[0].fingerprint]
        last = {one.point.id: i for i, one in enumerate(own) if isinstance(one, _Prepared)}
        new = {id: i for id, i in last.items() if id not in job.there}
        skipped = job.there | await self._store_of(chain[0], job, new, insert_only=write.insert_only)
        written = {id: i for id, i in new.items() if id not in skipped}
        taken = frozenset[str]() if write.insert_only else skipped
        lacking: dict[str, ServiceError] = {}
        for spec in chain[1:]:
            with on_successor(chain, spec):
                lacking |= await self._copy(spec, job, written)

        def result(one: _Outcome) -> WriteResult:
            if isinstance(one, ServiceError):
                return one
            if write.vectors_only and one.point.id in skipped:
                return NotFound("point", one.point.id)
            if one.point.id in taken:
                return AlreadyExists("point", one.point.id)
            return Written(one.tokens_dropped, one.point.id in skipped, lacking.get(one.point.id))

        return [result(one) for one in own]

    async def _copy_late(self, chain: Chain, job: _Job, done: Sequence[WriteResult]) -> list[WriteResult]:
        """Inserts what was inserted into successors too; others may have replaced it meanwhile."""
        late = list(done)
        for spec in chain[1:]:
            copies = job.prepared[spec.fingerprint]
            new = {}
            for i, (point, result) in enumerate(zip(job.write.points, done, strict=True)):
                if isinstance(point, NewPoint) and isinstance(result, Written) and not result.skipped:
                    new[point.id] = i
                    if isinstance(error := copies[i], ServiceError):
                        late[i] = replace(result, lacking=error)
            with on_successor(chain, spec):
                await self._store_of(spec, job, new, insert_only=True)
        return late

    async def _copy(
        self, spec: CollectionSpec, job: _Job, written: dict[str, int]
    ) -> dict[str, ServiceError]:
        """Writes to a successor; removes from it what it cannot have, and returns why."""
        write, copies = job.write, job.prepared[spec.fingerprint]
        lacking = {id: one for id, i in written.items() if isinstance(one := copies[i], ServiceError)}
        taken = await self._store_of(spec, job, written, insert_only=False)
        if not write.vectors_only:
            lacking |= {id: AlreadyExists("point", id) for id in taken}
            if lacking:
                await self._store.delete(spec.name, list(lacking))
            return lacking
        for names in _NAMES:
            ids = [id for id in lacking if _names_given(write.points[written[id]]) == names]
            if ids:
                await self._store.delete_vectors(spec.name, ids, names)
        return lacking

    async def _store_of(
        self, spec: CollectionSpec, job: _Job, which: dict[str, int], *, insert_only: bool
    ) -> frozenset[str]:
        """Stores the points at these positions, but for errors; returns the ids that were left."""
        outcomes = job.prepared[spec.fingerprint]
        ready = [one.point for i in which.values() if isinstance(one := outcomes[i], _Prepared)]
        if not ready:
            return frozenset()
        wait = job.write.wait
        try:
            if job.write.vectors_only:
                return await self._store.update_vectors(spec.name, ready, wait=wait)
            return await self._store.upsert(spec.name, ready, wait=wait, insert_only=insert_only)
        finally:  # of a write that failed some may be there
            names = [name for point in ready for name in vector_names_of(point)]
            self._calibrations.wrote(spec.name, len(ready), set(names))

    async def _encoded(
        self, points: Sequence[NewPoint | ServiceError], spec: CollectionSpec, job: _Job
    ) -> list[_Outcome]:
        """What is to be stored for each point, or what is wrong with it; no vectors for those `there`.

        One encoder call, for images and texts that are no vectors already.
        """
        new = [point for point in points if isinstance(point, NewPoint) and point.id not in job.there]
        texts = [point.text for point in new if isinstance(point.text, str)]
        images = [point.image for point in new if isinstance(point.image, bytes)]
        encoding = Encoding([], [], spec.fingerprint)
        if texts or images:
            encoding = await self._encoders.encode_for(spec, texts, images)
        encoded_images, encoded_texts = iter(encoding.images), iter(encoding.texts)

        def outcome(point: NewPoint | ServiceError, path: str) -> _Outcome:
            if isinstance(point, ServiceError):
                return point
            if point.id in job.there:
                return _Prepared(StoredPoint(point.id, {}), 0)
            image = next(encoded_images) if isinstance(point.image, bytes) else point.image
            text = next(encoded_texts) if isinstance(point.text, str) else point.text
            try:
                stored = StoredPoint(
                    point.id,
                    point.payload,
                    image=_vector(image, spec, f"{path}.image"),
                    text=_vector(text, spec, f"{path}.text"),
                )
            except ServiceError as error:
                return error
            return _Prepared(stored, text.tokens_dropped if isinstance(text, Encoded) else 0)

        return [outcome(point, f"points[{i}]") for i, point in enumerate(points)]


def _merged(before: Sequence[WriteResult], after: Sequence[WriteResult]) -> list[WriteResult]:
    """Results of a write, and of its points that were written once more."""
    if not before:
        return list(after)
    return [new if isinstance(new, Written) else old for old, new in zip(before, after, strict=True)]


def _for_successor(points: Sequence[NewPoint | ServiceError]) -> list[NewPoint | ServiceError]:
    """The points as another model may have them: all of a point or nothing, and no ready vectors."""
    return [
        FailedPrecondition(
            f"points[{i}]: has a ready vector; the model of the collection's successor cannot make one of it",
            "SUCCESSOR_LACKS_POINT",
            {"field": f"points[{i}]"},
        )
        if isinstance(point, NewPoint)
        and any(isinstance(one, np.ndarray) for one in (point.image, point.text))
        else point
        for i, point in enumerate(points)
    ]


def _names_given(point: NewPoint | ServiceError) -> tuple[VectorName, ...]:
    return tuple(name for name in VECTOR_NAMES if getattr(point, name, None) is not None)


def _vector(given: _Given, spec: CollectionSpec, path: str) -> Vector | None:
    if given is None:
        return None
    if isinstance(given, InvalidArgument):
        raise given.at(path)
    if isinstance(given, Encoded):
        check_dimension(given.vector, spec, path)
        return given.vector
    check_dimension(given, spec, f"{path}_vector")
    return given
