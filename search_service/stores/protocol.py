"""What a vector store does, in plain values; the two implementations promise the same.

Between them and those who ask stand, from the outside: tenant.py (whose call it is, and what of it a tenant
sees), and the breaker of the store, which all calls pass. Edge has one more for each collection's engine.

A collection holds two named vectors a point, `image` and `text`, both cosine, both optional.
Vectors handed in are L2-normalised float32 of the collection's dimension; payloads are JSON.
Ids are any string: the engine's point id is UUIDv5 of it, the original travels in the payload
under `ID_KEY` and never leaves the store with it.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha1
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from search_service.stores.collection import (
    CollectionInfo,
    CollectionSpec,
    PayloadIndex,
)
from search_service.stores.filters import Filter, HasVector
from search_service.stores.questions import FacetHit, FacetQuery, Mmr, OrderBy

Vector = NDArray[np.float32]
VectorName = Literal["image", "text"]
VECTOR_NAMES: tuple[VectorName, VectorName] = ("image", "text")

ID_NAMESPACE = uuid.UUID("6f1e3c0a-0d5b-5a55-9c0e-2f6f0c1a7d11")
ID_KEY = "_clipsearch_id"
RESERVED_PREFIX = "_clipsearch"
_SAMPLED_AT_ONCE = 128  # points; a search on Qdrant Edge waits for them, 3 ms


def point_uuid(point_id: str) -> str:
    """The engine's point id for a caller's id: `uuid.uuid5`, in 2 us for its 6."""
    digest = bytearray(sha1(ID_NAMESPACE.bytes + point_id.encode(), usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


@dataclass(frozen=True, slots=True)
class StoredPoint:
    """A point to write or as read. As read without vectors, `has_image` and `has_text` still tell."""

    id: str
    payload: Mapping[str, Any]
    image: Vector | None = None
    text: Vector | None = None
    has_image: bool = False
    has_text: bool = False


@dataclass(frozen=True, slots=True)
class PayloadSelection:
    """Which fields of the payload come back: all (`include` is None), some, or none (`()`)."""

    include: tuple[str, ...] | None = None


NO_PAYLOAD = PayloadSelection(())


@dataclass(frozen=True, slots=True)
class Listing:
    """Which points of a collection are listed, and what comes back of each."""

    collection: str
    filter: Filter = field(default_factory=Filter)
    payload: PayloadSelection = PayloadSelection()
    with_vectors: bool = False


@dataclass(frozen=True, slots=True)
class PayloadChange:
    """What becomes of a payload: `delete` (paths) goes, then `set` (top-level fields) comes.

    With `whole` all that is not set goes. Points that do not match `update_filter` count as not there.
    """

    set: Mapping[str, Any] = field(default_factory=dict)
    delete: tuple[str, ...] = ()
    whole: bool = False
    update_filter: Filter | None = None


@dataclass(frozen=True, slots=True)
class Examples:
    """What points are to be like, and what not; a point's score is by the nearest, or by all."""

    positives: tuple[Vector, ...]
    negatives: tuple[Vector, ...]
    strategy: Literal["best_score", "sum_scores"]


@dataclass(frozen=True, slots=True)
class Context:
    """Pairs of what to be nearer to and what to be farther from; `target`: what else to be near to."""

    pairs: tuple[tuple[Vector, Vector], ...]
    target: Vector | None = None


@dataclass(frozen=True, slots=True)
class VectorQuery:
    """One question to the vectors of one name: which are nearest to a vector, or fit others as they say."""

    vector: Vector | Examples | Context
    name: VectorName
    limit: int
    offset: int = 0
    filter: Filter | None = None
    score_threshold: float | None = None
    exact: bool = False
    hnsw_ef: int = 0
    rescore: bool = True
    oversampling: float = 0.0
    payload: PayloadSelection = PayloadSelection()
    with_vectors: bool = False
    mmr: Mmr | None = None


@dataclass(frozen=True, slots=True)
class WordsQuery:
    """Which points have the most, and the rarest, of these words in the collection's `bm25_field`?"""

    words: str
    limit: int
    filter: Filter | None = None


Question: TypeAlias = VectorQuery | WordsQuery


@dataclass(frozen=True, slots=True)
class ScoredPoint:
    """A point found; `score` is the cosine, what the engine makes of examples or a context, or the BM25 of
    words, of which it has the share `share`.
    """

    point: StoredPoint
    score: float
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class VectorSample:
    """Vectors of one name, float32 [len(ids), dimension], normalised, and the points that they are of."""

    ids: tuple[str, ...]
    vectors: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Page:
    """Points in a stable order, and where the next page starts (None on the last)."""

    points: tuple[StoredPoint, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class OrderedPoints:
    """Points in the order of `values`; of equal values in any. `more`: there may be others behind them."""

    values: tuple[int | float, ...]
    points: tuple[StoredPoint, ...]
    more: bool


class VectorStore(Protocol):
    """Everywhere `collection` is a collection's name, already resolved from aliases by `resolve`.

    Raises NotFound for an unknown collection, CollectionDamaged for one whose files cannot be used (which
    can be deleted all the same), AlreadyExists for a taken name, Unavailable("store")
    when the engine cannot be reached, ResourceExhausted when it is full or busy, and
    DeadlineExceeded when it takes too long for the caller (`clipsearch.serving.deadline`) or the store.

    The stores derive from it: what both do alike is here. `shared`: other processes may write to it as well.
    """

    shared: bool

    async def ping(self) -> None:
        """Returns if the engine answers; raises Unavailable otherwise."""

    async def close(self) -> None:
        """Flushes and lets go of files and connections."""

    def uuid(self, point_id: str) -> str:
        """The UUID that a point of this id has in the order of `scroll`."""
        return point_uuid(point_id)

    async def resolve(self, name: str) -> CollectionSpec:
        """The settings of a collection or of the collection behind an alias. Cheap: may be cached."""

    async def create_collection(self, spec: CollectionSpec) -> None: ...

    async def update_collection(self, collection: str, changes: Mapping[str, Any]) -> None:
        """Changes settings, by their names in CHANGEABLE; what they ask for is built in the background.

        Raises FailedPrecondition for what the engine cannot change, and changes nothing then.
        """

    async def get_collection(self, collection: str) -> CollectionInfo: ...

    async def list_collections(self) -> list[CollectionInfo]:
        """All collections by name, damaged ones too."""

    async def delete_collection(self, collection: str) -> None:
        """Deletes the collection, the aliases that point at it and the links to it as a successor."""

    async def set_alias(self, alias: str, collection: str | None) -> str:
        """Points `alias` at a collection, or removes it (None). Returns where it pointed ("" = nowhere)."""

    async def set_successor(self, collection: str, successor: str) -> float:
        """Keeps `successor` ("" = none) in the collection's settings.

        Returns for how many seconds other processes over the same store may still go by the settings
        of before; a write that begins later in this process sees the new ones.
        """

    async def create_payload_index(self, collection: str, key: str, index: PayloadIndex) -> None:
        """Adds a payload index; FailedPrecondition if the field has another one."""

    async def delete_payload_index(self, collection: str, key: str) -> None:
        """Removes the payload index of a field; nothing, if it has none."""

    async def upsert(
        self,
        collection: str,
        points: Sequence[StoredPoint],
        *,
        wait: bool = True,
        insert_only: bool = False,
        update_filter: Filter | None = None,
    ) -> frozenset[str]:
        """Writes points, each whole. With `wait`, returns when they are durable and findable.

        With `insert_only`, points that are there stay as they are, also if they came a moment ago, and with
        `update_filter`, which `points` match themselves, those that do not match it; returns the ids of
        those, otherwise none. After an error some of the points may be there and some not; writing them
        again is safe.
        """

    async def get(
        self,
        collection: str,
        ids: Sequence[str],
        *,
        payload: PayloadSelection = PayloadSelection(),
        with_vectors: bool = False,
    ) -> list[StoredPoint]:
        """Those of `ids` that exist, in the order of `ids`, without repeats."""

    async def present(self, collection: str, ids: Sequence[str]) -> frozenset[str]:
        """Those of `ids` whose points are there to stay: not what a failed write left on some copies."""

    async def delete(self, collection: str, selector: Sequence[str] | Filter) -> int:
        """Deletes by ids or by filter; returns how many points existed and are gone."""

    async def update_payload(self, collection: str, ids: Sequence[str], change: PayloadChange) -> int:
        """Changes the payloads of those of `ids` that exist; returns how many do. Vectors stay.

        Writers of other fields at the same time lose nothing. Doing it again is safe.
        """

    async def update_vectors(
        self, collection: str, points: Sequence[StoredPoint], *, wait: bool
    ) -> frozenset[str]:
        """Gives those of the points that exist the vectors they have here; all else of them stays.

        Returns the ids of those that do not exist. Doing it again is safe.
        """

    async def delete_vectors(self, collection: str, ids: Sequence[str], names: Sequence[VectorName]) -> int:
        """Removes vectors of those of `ids` that exist; returns how many do. Doing it again is safe."""

    async def count(self, collection: str, filter: Filter | None = None) -> int: ...

    async def facet(self, collection: str, asked: FacetQuery) -> list[FacetHit]:
        """The most frequent values of a field, of equally many the smaller first.

        The field has a payload index of a type in FACET_TYPES.
        """

    async def scroll(self, listing: Listing, *, limit: int, cursor: str | None = None) -> Page:
        """A page of points in the order of their UUIDs, from `cursor` (a UUID) on."""

    async def ordered(self, listing: Listing, order: OrderBy, *, limit: int) -> OrderedPoints:
        """The first points in the order of a field's values; one with several stands at each of them.

        The field has a payload index of a type in ORDER_TYPES; points without a value in it are left out.
        """

    async def random(self, listing: Listing, *, limit: int) -> list[StoredPoint]:
        """So many points at random, each at most once; all that match, if they are fewer."""

    async def sample(self, collection: str, name: VectorName, limit: int) -> VectorSample:
        """Up to `limit` vectors of the name `name`: those of the points whose UUIDs come first.

        UUIDs are hashes of ids, so this is a random sample, and the same at each asking.
        """
        listing = Listing(collection, Filter(must=(HasVector(name),)), NO_PAYLOAD, with_vectors=True)
        found: list[StoredPoint] = []
        cursor: str | None = None
        while len(found) < limit:
            amount = min(limit - len(found), _SAMPLED_AT_ONCE)
            page = await self.scroll(listing, limit=amount, cursor=cursor)
            # A point may have lost the vector between the filter and the reading.
            found += [point for point in page.points if getattr(point, name) is not None]
            cursor = page.next_cursor
            if cursor is None:
                break
        dimension = (await self.resolve(collection)).dimension
        vectors = np.array([getattr(point, name) for point in found], np.float32)
        return VectorSample(tuple(point.id for point in found), vectors.reshape(len(found), dimension))

    async def calibration(self, collection: str) -> Mapping[str, Any] | None:
        """What `set_calibration` kept last, the same object until it changes; None = nothing. Cheap."""

    async def set_calibration(self, collection: str, calibration: Mapping[str, Any]) -> None:
        """Keeps a JSON object with the collection, for every process over the store, until it is deleted."""

    async def query(self, collection: str, queries: Sequence[Question]) -> list[list[ScoredPoint]]:
        """Answers several questions in one call; each list best first.

        To words, a list of points without their payloads, some of the words in each of them; it is empty
        where there is nothing in the words to look up.
        """
