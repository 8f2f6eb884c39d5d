"""Points, questions and filters in Qdrant's terms, and back.

Writes and searches are gRPC messages: qdrant-client takes models of pydantic, copies them and converts
them, at 512 dimensions 100 us a point and 3 ms a pair of questions more than the messages themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from qdrant_client import grpc as wire
from qdrant_client import models
from qdrant_client.conversions.conversion import RestToGrpc, grpc_to_payload, payload_to_grpc

from search_service.stores.bm25 import WORDS, document, question, share
from search_service.stores.codec import (
    from_engine,
    payload_keys,
    to_payload,
    vector_names_of,
)
from search_service.stores.filters import (
    Condition,
    DatetimeRange,
    Filter,
    GeoBoundingBox,
    GeoPoint,
    GeoRadius,
    HasId,
    HasVector,
    IsEmpty,
    IsNull,
    MatchAny,
    MatchExcept,
    MatchPhrase,
    MatchText,
    MatchValue,
    Nested,
    Range,
    ValuesCount,
)
from search_service.stores.protocol import (
    NO_PAYLOAD,
    VECTOR_NAMES,
    Context,
    Examples,
    PayloadSelection,
    Question,
    ScoredPoint,
    StoredPoint,
    Vector,
    VectorQuery,
    WordsQuery,
    point_uuid,
)

_STRATEGIES = {
    "best_score": wire.RecommendStrategy.BestScore,
    "sum_scores": wire.RecommendStrategy.SumScores,
}
_POINTS_A_WRITE = 256
_VECTOR_BYTES_A_WRITE = 4 << 20
_BYTES_A_NUMBER = 4


def uuids(ids: Sequence[str]) -> list[str]:
    """The engine's ids of these points, without repeats."""
    return list(dict.fromkeys(point_uuid(id) for id in ids))


def batches(points: Sequence[StoredPoint], dimension: int) -> Iterator[list[StoredPoint]]:
    """At most 256 points a batch, and 4 MiB of vectors; of points with one id the last."""
    last = list({point.id: point for point in points}.values())
    largest = _VECTOR_BYTES_A_WRITE // (dimension * _BYTES_A_NUMBER * len(VECTOR_NAMES))
    size = max(1, min(_POINTS_A_WRITE, largest))
    for start in range(0, len(last), size):
        yield last[start : start + size]


def add_points(asked: wire.UpsertPoints, points: Sequence[StoredPoint], bm25_field: str) -> None:
    """Adds points to a request to write, with the words of the field if one is named."""
    for point in points:
        # In place, because a message that is given to another is copied.
        names = vector_names_of(point)
        message = asked.points.add(payload=payload_to_grpc(to_payload(point.id, point.payload, names)))
        message.id.uuid = point_uuid(point.id)
        for name in names:
            message.vectors.vectors.vectors[name].dense.MergeFromString(_packed(getattr(point, name)))
        if bm25_field and (words := document(point.payload, bm25_field)):
            sparse = message.vectors.vectors.vectors[WORDS].sparse
            sparse.indices.extend(words.indices)
            sparse.values.extend(words.values)


def query_message(
    collection: str, queries: Sequence[Question], *, consistency: models.ReadConsistency, timeout: int
) -> wire.QueryBatchPoints:
    """Asks several questions in one request."""
    return wire.QueryBatchPoints(
        collection_name=collection,
        query_points=[_query_points(collection, query) for query in queries],
        read_consistency=RestToGrpc.convert_read_consistency(consistency),
        timeout=timeout,
    )


def _query_points(collection: str, query: Question) -> wire.QueryPoints:
    if isinstance(query, WordsQuery):
        return _words_query(collection, query)
    params = wire.SearchParams(exact=query.exact, hnsw_ef=query.hnsw_ef or None)
    if query.oversampling or not query.rescore:  # rescoring is the server's default
        params.quantization.rescore = query.rescore
        if query.oversampling:
            params.quantization.oversampling = query.oversampling
    message = wire.QueryPoints(
        collection_name=collection,
        using=query.name,
        filter=wire_filter(query.filter),
        limit=query.limit,
        offset=query.offset or None,
        score_threshold=query.score_threshold,
        params=params,
        with_payload=_payload_selector(query.payload),
        with_vectors=wire.WithVectorsSelector(enable=query.with_vectors),
    )
    _fill_query(message.query, query)
    return message


def _fill_query(message: Any, query: VectorQuery) -> None:
    match query.vector:
        case Examples(positives, negatives, strategy):
            message.recommend.strategy = _STRATEGIES[strategy]
            for vectors, added in (
                (positives, message.recommend.positive),
                (negatives, message.recommend.negative),
            ):
                for vector in vectors:
                    _fill_vector(added.add(), vector)
        case Context(pairs, target):
            context = message.context
            if target is not None:
                _fill_vector(message.discover.target, target)
                context = message.discover.context
            for near, far in pairs:
                pair = context.pairs.add()
                _fill_vector(pair.positive, near)
                _fill_vector(pair.negative, far)
        case vector if query.mmr is not None:
            message.nearest_with_mmr.mmr.diversity = query.mmr.diversity
            message.nearest_with_mmr.mmr.candidates_limit = query.mmr.candidates
            _fill_vector(message.nearest_with_mmr.nearest, vector)
        case vector:
            _fill_vector(message.nearest, vector)


def _fill_vector(message: Any, vector: Vector) -> None:
    message.dense.MergeFromString(_packed(vector))


def _words_query(collection: str, query: WordsQuery) -> wire.QueryPoints:
    message = wire.QueryPoints(
        collection_name=collection,
        using=WORDS,
        filter=wire_filter(query.filter),
        limit=query.limit,
        with_payload=_payload_selector(NO_PAYLOAD),
        with_vectors=wire.WithVectorsSelector(include=wire.VectorsSelector(names=[WORDS])),
    )
    if words := question(query.words):
        message.query.nearest.sparse.indices.extend(words.indices)
        message.query.nearest.sparse.values.extend(words.values)
    return message


def _packed(vector: Vector) -> bytes:
    """The vector as a DenseVector on the wire: its bytes (field 1, a packed repeated float) and their length.

    2 us at 512 dimensions for 16 by a list of floats.
    """
    numbers = vector.astype("<f4", copy=False).tobytes()
    length, left = bytearray(), len(numbers)
    while left > 0x7F:
        length.append(left & 0x7F | 0x80)
        left >>= 7
    return b"\x0a" + bytes(length) + bytes([left]) + numbers


def _payload_selector(selection: PayloadSelection) -> wire.WithPayloadSelector:
    keys = payload_keys(selection)
    if isinstance(keys, bool):
        return wire.WithPayloadSelector(enable=keys)
    return wire.WithPayloadSelector(include=wire.PayloadIncludeSelector(fields=keys))


def scored_points(query: Question, hits: Sequence[wire.ScoredPoint]) -> list[ScoredPoint]:
    """The answer to one question."""
    return [
        ScoredPoint(
            from_engine(grpc_to_payload(hit.payload), _numbers(hit)),
            hit.score,
            share(query.words, _words_of(hit)) if isinstance(query, WordsQuery) else 1.0,
        )
        for hit in hits
    ]


def _numbers(hit: Any) -> dict[str, Any]:
    """By vector name. Servers before 1.17 answer with the numbers in the vector itself."""
    vectors = hit.vectors.vectors.vectors.items()
    return {name: one.dense.data if one.HasField("dense") else one.data for name, one in vectors}


def _words_of(hit: Any) -> list[int]:
    vector = hit.vectors.vectors.vectors[WORDS]
    return list(vector.sparse.indices if vector.HasField("sparse") else vector.indices.data)


def stored_point(record: models.Record | models.ScoredPoint) -> StoredPoint:
    """The point as its caller knows it."""
    return from_engine(record.payload, record.vector)


def wire_filter(filter: Filter | None) -> wire.Filter | None:
    """The same in a message."""
    condition = server_filter(filter)
    return None if condition is None else RestToGrpc.convert_filter(condition)


def server_filter(filter: Filter | None) -> models.Filter | None:
    """The filter for the server; None where there is nothing to filter.

    A field with a payload index that is both asked for and excluded in one filter comes back all the
    same (Qdrant 1.18.3), but is excluded rightly by a filter of its own inside it.
    """
    if not filter:
        return None
    must = [_condition(c) for c in filter.must]
    must_not = [_condition(c) for c in filter.must_not]
    some = filter.min_should
    if must_not and (must or filter.should or some):
        must.append(models.Filter(must_not=must_not))
        must_not = []
    return models.Filter(
        must=must or None,
        should=[_condition(c) for c in filter.should] or None,
        must_not=must_not or None,
        min_should=some
        and models.MinShould(conditions=[_condition(c) for c in some.conditions], min_count=some.min_count),
    )


def _condition(condition: Condition) -> Any:
    match condition:
        case MatchValue(key, value):
            return models.FieldCondition(key=key, match=models.MatchValue(value=value))
        case MatchAny(key, values):
            return models.FieldCondition(key=key, match=models.MatchAny(any=list(values)))
        case MatchExcept(key, values):
            return models.FieldCondition(key=key, match=models.MatchExcept(**{"except": list(values)}))
        case MatchText(key, text):
            return models.FieldCondition(key=key, match=models.MatchText(text=text))
        case MatchPhrase(key, phrase):
            return models.FieldCondition(key=key, match=models.MatchPhrase(phrase=phrase))
        case Range(key, gt, gte, lt, lte):
            return models.FieldCondition(key=key, range=models.Range(gt=gt, gte=gte, lt=lt, lte=lte))
        case DatetimeRange(key, gt, gte, lt, lte):
            return models.FieldCondition(key=key, range=models.DatetimeRange(gt=gt, gte=gte, lt=lt, lte=lte))
        case GeoRadius(key, center, radius):
            circle = models.GeoRadius(center=_place(center), radius=radius)
            return models.FieldCondition(key=key, geo_radius=circle)
        case GeoBoundingBox(key):
            boxes = [
                models.GeoBoundingBox(top_left=_place(box.top_left), bottom_right=_place(box.bottom_right))
                for box in condition.narrow()
            ]
            return models.Filter(should=[models.FieldCondition(key=key, geo_bounding_box=b) for b in boxes])
        case ValuesCount(key, gt, gte, lt, lte):
            count = models.ValuesCount(gt=gt, gte=gte, lt=lt, lte=lte)
            counted = models.FieldCondition(key=key, values_count=count)
            if not condition.admits_none:
                return counted
            # Servers (1.18.3) count no field that is not there.
            missing = models.IsEmptyCondition(is_empty=models.PayloadField(key=key))
            return models.Filter(should=[counted, missing])
        case Nested(key, filter):
            inside = server_filter(filter) or models.Filter()
            return models.NestedCondition(nested=models.Nested(key=key, filter=inside))
        case IsEmpty(key):
            return models.IsEmptyCondition(is_empty=models.PayloadField(key=key))
        case IsNull(key):
            # Without an index Qdrant does not look into a list for null, as it does with one.
            paths = (key,) if key.endswith("]") else (key, f"{key}[]")
            return models.Filter(
                should=[models.IsNullCondition(is_null=models.PayloadField(key=path)) for path in paths]
            )
        case HasId(ids):
            return models.HasIdCondition(has_id=[point_uuid(point_id) for point_id in ids])
        case HasVector(name):
            return models.HasVectorCondition(has_vector=name)
        case Filter():
            return server_filter(condition) or models.Filter()


def _place(place: GeoPoint) -> models.GeoPoint:
    return models.GeoPoint(lon=place.lon, lat=place.lat)
