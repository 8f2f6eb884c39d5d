"""Collections, points, filters and questions in Qdrant Edge's terms, and back."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import qdrant_edge as qe

from search_service.stores.bm25 import WORDS, document, question, share
from search_service.stores.codec import from_engine, names_to_keep, payload_keys, to_payload
from search_service.stores.collection import (
    USUAL_TEXT,
    CollectionSpec,
    PayloadIndex,
    TextIndex,
)
from search_service.stores.edge.codec import PackedPoint
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
    PayloadChange,
    PayloadSelection,
    Question,
    ScoredPoint,
    StoredPoint,
    VectorName,
    VectorQuery,
    WordsQuery,
    point_uuid,
)

Kind = TypeVar("Kind")

_BYTES_A_NUMBER = 4
# The engine's defaults; they cannot be left out when another setting of HNSW is given.
_M = 16
_EF_CONSTRUCT = 100
_FULL_SCAN_KB = 10_000


def engine_config(spec: CollectionSpec, index_threshold: int) -> qe.EdgeConfig:
    """The shard's settings. `index_threshold`: vectors of a segment worth an HNSW graph."""
    params = qe.EdgeVectorParams(spec.dimension, qe.Distance.Cosine, memory=_memory(spec.on_disk_vectors))
    words = qe.EdgeSparseVectorParams(modifier=qe.Modifier.Idf, memory=_memory(spec.on_disk_vectors))
    # The engine weighs each segment by itself and may split the points over several.
    threshold_kb = max(1, index_threshold * spec.dimension * _BYTES_A_NUMBER // 1024 // 4)
    return qe.EdgeConfig(
        vectors=dict.fromkeys(VECTOR_NAMES, params),
        sparse_vectors={WORDS: words} if spec.bm25_field else None,
        hnsw_config=qe.HnswIndexConfig(
            spec.hnsw_m or _M,
            spec.hnsw_ef_construct or _EF_CONSTRUCT,
            spec.hnsw_full_scan_threshold_kb or _FULL_SCAN_KB,
            memory=_memory(spec.hnsw_on_disk),
        ),
        quantization_config=_quantization(spec),
        optimizers=qe.EdgeOptimizersConfig(indexing_threshold=threshold_kb),
        payload_memory=qe.Memory.Cold if spec.on_disk_payload else qe.Memory.Cached,
    )


def _memory(on_disk: bool) -> qe.Memory | None:
    """Cold: read from disk when needed. None: the engine's default, which is to have it in memory."""
    return qe.Memory.Cold if on_disk else None


def _quantization(spec: CollectionSpec) -> qe.QuantizationConfigType | None:
    params = spec.quantization_params
    # What need not be in memory lies where the vectors lie.
    memory = qe.Memory.Pinned if params.always_ram else _memory(spec.on_disk_vectors)
    match spec.quantization:
        case "scalar":
            return qe.ScalarQuantizationConfig(
                qe.ScalarType.Int8, quantile=params.quantile or None, memory=memory
            )
        case "binary":
            return qe.BinaryQuantizationConfig(
                encoding=_named(qe.BinaryQuantizationEncoding, params.encoding),
                query_encoding=_named(qe.BinaryQuantizationQueryEncoding, params.query_encoding),
                memory=memory,
            )
        case "product":
            ratio = getattr(qe.CompressionRatio, f"X{params.compression}")
            return qe.ProductQuantizationConfig(ratio, memory=memory)
        case "turbo":
            name = f"Bits{params.bits:g}".replace(".", "_")  # Bits1_5
            bits = getattr(qe.TurboQuantBitSize, name) if params.bits else None
            return qe.TurboQuantQuantizationConfig(bits=bits, memory=memory)
    return None


def _named(kind: type[Kind], name: str) -> Kind:
    """The member of one of the engine's enumerations: TwoBits for two_bits."""
    member: Kind = getattr(kind, name.title().replace("_", ""))
    return member


def create_index(key: str, index: PayloadIndex) -> qe.UpdateOperation:
    """What adds a payload index to a shard."""
    schema: Any
    if index == "text":
        schema = _text_index(USUAL_TEXT)
    elif isinstance(index, TextIndex):
        schema = _text_index(index)
    elif index == "tenant":
        schema = qe.KeywordIndexParams(is_tenant=True)
    else:
        schema = _named(qe.PayloadSchemaType, index)
    return qe.UpdateOperation.create_field_index(key, schema)


def _text_index(index: TextIndex) -> qe.TextIndexParams:
    languages = {_named(qe.Language, name) for name in index.stopword_languages}
    return qe.TextIndexParams(
        tokenizer=_named(qe.TokenizerType, index.tokenizer),
        lowercase=index.lowercase,
        min_token_len=index.min_token_len or None,
        max_token_len=index.max_token_len or None,
        stemmer=qe.SnowballParams(_named(qe.SnowballLanguage, index.stemmer)) if index.stemmer else None,
        stopwords=qe.StopwordsSet(languages, set(index.stopwords)) if languages or index.stopwords else None,
        phrase_matching=index.phrase_matching,
    )


def engine_point(packed: PackedPoint, bm25_field: str) -> qe.Point:
    """The point as the engine takes it, with the words of the field if one is named.

    This is half of the work of an upsert. Of 512 numbers the engine takes an array in 31 us, a list in
    27 us and 7 more to make it, a numpy array in 48 us.
    """
    point_id, payload, *packed_vectors = packed
    vectors = _vectors(packed_vectors)
    kept = to_payload(point_id, payload, list(vectors))
    if bm25_field and (words := document(payload, bm25_field)):
        vectors[WORDS] = words
    return qe.Point(point_uuid(point_id), vectors, kept)


def _vectors(packed: Sequence[bytes | None]) -> dict[str, Any]:
    return {
        name: array("f", vector)
        for name, vector in zip(VECTOR_NAMES, packed, strict=True)
        if vector is not None
    }


def payload_operations(records: Sequence[qe.Record], change: PayloadChange) -> list[qe.UpdateOperation]:
    """What changes these points' payloads."""
    if change.whole:
        return [_overwrite(stored_point(record), change) for record in records]
    ids, operations = [record.id for record in records], []
    if change.delete:
        operations.append(qe.UpdateOperation.delete_payload(ids, list(change.delete)))
    if change.set:
        operations.append(qe.UpdateOperation.set_payload(ids, dict(change.set)))
    return operations


def _overwrite(point: StoredPoint, change: PayloadChange) -> qe.UpdateOperation:
    names = [name for name in VECTOR_NAMES if getattr(point, f"has_{name}")]
    payload = to_payload(point.id, change.set, names)
    return qe.UpdateOperation.overwrite_payload([point_uuid(point.id)], payload)


def vector_operations(points: Sequence[PackedPoint]) -> list[qe.UpdateOperation]:
    """What gives points that are there their new vectors."""
    vectors = [qe.PointVectors(point_uuid(id), _vectors(packed)) for id, _, *packed in points]
    return [qe.UpdateOperation.update_vectors(vectors), *_keep_names([id for id, *_ in points])]


def word_operations(records: Sequence[qe.Record], bm25_field: str) -> list[qe.UpdateOperation]:
    """What makes the words of these points those of their payloads."""
    words = {record.id: document(record.payload or {}, bm25_field) for record in records}
    found = [qe.PointVectors(id, {WORDS: own}) for id, own in words.items() if own]
    wordless = [id for id, own in words.items() if not own]
    return [
        *([qe.UpdateOperation.update_vectors(found)] if found else ()),
        *([qe.UpdateOperation.delete_vectors(wordless, [WORDS])] if wordless else ()),
    ]


def deletion_of_vectors(ids: Sequence[str], names: Sequence[VectorName]) -> list[qe.UpdateOperation]:
    """What removes vectors of points that are there."""
    keys: list[Any] = [point_uuid(id) for id in ids]
    return [qe.UpdateOperation.delete_vectors(keys, list(names)), *_keep_names(ids)]


def _keep_names(ids: Sequence[str]) -> list[qe.UpdateOperation]:
    return [
        qe.UpdateOperation.set_payload_by_filter(edge_filter(which) or qe.Filter(), dict(names))
        for which, names in names_to_keep(ids)
    ]


def stored_point(record: qe.Record | qe.ScoredPoint, with_vectors: bool = True) -> StoredPoint:
    """The point as its caller knows it, with its vectors if the engine gave them."""
    return from_engine(record.payload, record.vector if with_vectors else None)


def payload_selector(selection: PayloadSelection) -> bool | qe.PayloadSelector:
    """Which parts of the payload the engine is to return."""
    keys = payload_keys(selection)
    return keys if isinstance(keys, bool) else qe.PayloadSelector.Include(keys)


def engine_query(query: Question) -> qe.QueryRequest:
    """The question as the engine takes it."""
    if isinstance(query, WordsQuery):
        return _words_query(query)
    quantization = qe.QuantizationSearchParams(rescore=query.rescore, oversampling=query.oversampling or None)
    return qe.QueryRequest(
        limit=query.limit,
        offset=query.offset,
        query=_scoring(query),
        filter=edge_filter(query.filter),
        score_threshold=query.score_threshold,
        params=qe.SearchParams(exact=query.exact, hnsw_ef=query.hnsw_ef or None, quantization=quantization),
        with_payload=payload_selector(query.payload),
        with_vector=query.with_vectors,
    )


def _scoring(query: VectorQuery) -> qe.Query | qe.Mmr:
    match query.vector:
        case Examples(positives, negatives, strategy):
            asked = qe.RecommendQuery([v.tolist() for v in positives], [v.tolist() for v in negatives])
            if strategy == "best_score":
                return qe.Query.RecommendBestScore(asked, using=query.name)
            return qe.Query.RecommendSumScores(asked, using=query.name)
        case Context(pairs, target):
            context = [qe.ContextPair(near.tolist(), far.tolist()) for near, far in pairs]
            if target is None:
                return qe.Query.Context(qe.ContextQuery(context), using=query.name)
            return qe.Query.Discover(qe.DiscoverQuery(target.tolist(), context), using=query.name)
        case vector if query.mmr is not None:
            relevance = 1 - query.mmr.diversity
            return qe.Mmr(vector.tolist(), relevance, query.mmr.candidates, using=query.name)
        case vector:
            return qe.Query.Nearest(vector.tolist(), using=query.name)


def _words_query(query: WordsQuery) -> qe.QueryRequest:
    words = question(query.words)
    return qe.QueryRequest(
        limit=query.limit,
        query=qe.Query.Nearest(words, using=WORDS) if words else None,
        filter=edge_filter(query.filter),
        with_payload=payload_selector(NO_PAYLOAD),
        with_vector=[WORDS],
    )


def scored_points(query: Question, hits: Sequence[qe.ScoredPoint]) -> list[ScoredPoint]:
    """The answer to one question."""
    if not isinstance(query, WordsQuery):
        # MMR's hits come with the vectors that it compared, asked for or not.
        return [ScoredPoint(stored_point(hit, query.with_vectors), float(hit.score)) for hit in hits]
    return [
        ScoredPoint(stored_point(hit), float(hit.score), share(query.words, _words_of(hit))) for hit in hits
    ]


def _words_of(hit: Any) -> list[int]:
    return list(hit.vector[WORDS].indices)


def edge_filter(filter: Filter | None) -> qe.Filter | None:
    """The filter for the engine; None where there is nothing to filter."""
    if not filter:
        return None
    some = filter.min_should
    min_should = qe.MinShould([_condition(c) for c in some.conditions], some.min_count) if some else None
    return qe.Filter(
        must=[_condition(c) for c in filter.must] or None,
        should=[_condition(c) for c in filter.should] or None,
        must_not=[_condition(c) for c in filter.must_not] or None,
        min_should=min_should,
    )


def _condition(condition: Condition) -> qe.ConditionType:
    match condition:
        case MatchValue(key, bool(value)):
            # qdrant-edge-py 0.9.0 takes Python's own for the integers 1 and 0, which it derives from.
            return qe.FieldCondition(key, match=qe.MatchValue(np.bool_(value)))  # type: ignore[arg-type]
        case MatchValue(key, value):
            return qe.FieldCondition(key, match=qe.MatchValue(value))
        case MatchAny(key, values):
            return qe.FieldCondition(key, match=qe.MatchAny(list(values)))  # type: ignore[arg-type]
        case MatchExcept(key, values):
            return qe.FieldCondition(key, match=qe.MatchExcept(list(values)))  # type: ignore[arg-type]
        case MatchText(key, text):
            return qe.FieldCondition(key, match=qe.MatchText(text))
        case MatchPhrase(key, phrase):
            return qe.FieldCondition(key, match=qe.MatchPhrase(phrase))
        case Range(key):
            bounds = qe.RangeFloat(gt=condition.gt, gte=condition.gte, lt=condition.lt, lte=condition.lte)
            return qe.FieldCondition(key, range=bounds)
        case DatetimeRange(key):
            moments = {
                name: value.isoformat()
                for name in ("gt", "gte", "lt", "lte")
                if (value := getattr(condition, name)) is not None
            }
            return qe.FieldCondition(key, range=qe.RangeDateTime(**moments))
        case GeoRadius(key, center, radius):
            return qe.FieldCondition(key, geo_radius=qe.GeoRadius(_place(center), radius))
        case GeoBoundingBox(key):
            boxes = [
                qe.GeoBoundingBox(_place(box.top_left), _place(box.bottom_right))
                for box in condition.narrow()
            ]
            return qe.Filter(should=[qe.FieldCondition(key, geo_bounding_box=box) for box in boxes])
        case ValuesCount(key, gt, gte, lt, lte):
            return qe.FieldCondition(key, values_count=qe.ValuesCount(gt=gt, gte=gte, lt=lt, lte=lte))
        case Nested(key, filter):
            return qe.NestedCondition(key, edge_filter(filter) or qe.Filter())
        case IsEmpty(key):
            return qe.IsEmptyCondition(key)
        case IsNull(key):
            return qe.IsNullCondition(key)
        case HasId(ids):
            return qe.HasIdCondition({point_uuid(point_id) for point_id in ids})
        case HasVector(name):
            return qe.HasVectorCondition(name)
        case Filter():
            return edge_filter(condition) or qe.Filter()


def _place(place: GeoPoint) -> qe.GeoPoint:
    return qe.GeoPoint(lon=place.lon, lat=place.lat)
