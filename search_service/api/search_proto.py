"""Searches as they travel: requests read, answers written."""

from __future__ import annotations

import math

from clipsearch.search.v1 import search_pb2
from clipsearch.serving.errors import InvalidArgument
from search_service.api.checks import EnumNames, check_count, check_id
from search_service.api.filter_proto import read_filter
from search_service.api.payload_proto import write_payload
from search_service.api.point_proto import VectorFormat, check_format, read_selection, write_optional
from search_service.api.vector_proto import read_vector
from search_service.error_paths import inside
from search_service.query.fusion import DEPTH
from search_service.query.queries import Answer, Fusion, Hit, Query, Target
from search_service.query.terms import ImageTerm, PointTerm, Term, TextTerm, VectorTerm
from search_service.settings import SearchSettings
from search_service.stores.protocol import VectorName

_DEFAULT_LIMIT = 10
_MAX_HNSW_EF = 4096
_MAX_OVERSAMPLING = 100

_TARGETS: EnumNames[Target, search_pb2.Target.ValueType] = EnumNames(
    {"image": search_pb2.TARGET_IMAGE, "text": search_pb2.TARGET_TEXT, "any": search_pb2.TARGET_ANY},
    default="any",
)
_FUSIONS: EnumNames[Fusion, search_pb2.Fusion.ValueType] = EnumNames(
    {
        "calibrated": search_pb2.FUSION_CALIBRATED,
        "rrf": search_pb2.FUSION_RRF,
        "dbsf": search_pb2.FUSION_DBSF,
    },
    default="calibrated",
)
_KINDS: EnumNames[VectorName, search_pb2.TermKind.ValueType] = EnumNames(
    {"image": search_pb2.TERM_KIND_IMAGE, "text": search_pb2.TERM_KIND_TEXT}
)


def read_search(proto: search_pb2.SearchRequest, limits: SearchSettings, path: str = "") -> Query:
    """The search that stands at `path` of the request. Raises InvalidArgument."""
    with inside(path):
        return _read(proto, limits, path)


def write_answer(answer: Answer, format: VectorFormat) -> search_pb2.SearchResponse:
    """The answer as it travels."""
    return search_pb2.SearchResponse(
        hits=[_hit(hit, answer.weak(hit), format) for hit in answer.hits],
        fingerprint=answer.fingerprint,
        timings=search_pb2.SearchTimings(
            encode_ms=1000 * answer.timings.encode_s, store_ms=1000 * answer.timings.store_s
        ),
        tokens_dropped=answer.tokens_dropped,
        fused=answer.fusion is not None,
        fusion=_FUSIONS.numbers[answer.fusion]
        if answer.fusion is not None
        else search_pb2.FUSION_UNSPECIFIED,
        weak_match_below=answer.weak_match_below,
    )


def _read(proto: search_pb2.SearchRequest, limits: SearchSettings, path: str) -> Query:
    check_count("query", len(proto.query), limits.max_terms)
    target, fusion = _TARGETS.name(proto.target, "target"), _FUSIONS.name(proto.fusion, "fusion")
    check_format(proto.vector_format)
    params = proto.params
    return Query(
        collection=proto.collection,
        terms=tuple(_term(term, f"query[{i}]", limits) for i, term in enumerate(proto.query)),
        target=target,
        filter=read_filter(proto.filter, limits),
        limit=_limit(proto, target, fusion, limits),
        offset=proto.offset,
        score_threshold=_threshold(proto),
        with_vectors=proto.with_vectors,
        payload=read_selection(proto.payload),
        fusion=fusion,
        fingerprint=proto.fingerprint,
        exact=params.exact,
        hnsw_ef=_hnsw_ef(params),
        rescore=params.quantization_rescore if params.HasField("quantization_rescore") else True,
        oversampling=_oversampling(params),
        path=path,
    )


def _term(proto: search_pb2.QueryTerm, field: str, limits: SearchSettings) -> Term:
    weight = proto.weight if proto.HasField("weight") else 1.0
    kind = _KINDS.name(proto.kind, f"{field}.kind") if proto.kind else None
    if kind and proto.WhichOneof("term") != "vector":
        raise InvalidArgument(f"{field}.kind", "is of a vector only; the kind of other terms is known")
    match proto.WhichOneof("term"):
        case "text":
            return Term(TextTerm(proto.text), weight)
        case "image":
            return Term(ImageTerm(proto.image), weight)
        case "vector":
            return Term(VectorTerm(read_vector(proto.vector, f"{field}.vector"), kind), weight)
        case "point_id":
            return Term(PointTerm(check_id(proto.point_id, f"{field}.point_id", limits)), weight)
        case _:
            raise InvalidArgument(field, "empty; exactly one of text, image, vector and point_id must be set")


def _limit(proto: search_pb2.SearchRequest, target: Target, fusion: Fusion, limits: SearchSettings) -> int:
    limit = proto.limit or _DEFAULT_LIMIT
    if limit > limits.max_limit:
        raise InvalidArgument("limit", f"{limit}, at most {limits.max_limit}", "LIMIT_TOO_LARGE")
    if proto.offset + limit > limits.max_window:
        raise InvalidArgument(
            "offset",
            f"offset {proto.offset} + limit {limit} is {proto.offset + limit}, at most {limits.max_window}; "
            "ListPoints pages through everything",
            "WINDOW_TOO_LARGE",
        )
    if fusion != "calibrated" and target == "any":
        _check_depth(proto.offset, limit)
    return limit


def _check_depth(offset: int, limit: int) -> None:
    """Raises for hits beyond those that RRF and DBSF rank."""
    if offset + limit > DEPTH:
        field = "limit" if limit > DEPTH else "offset"
        what = f"{limit}" if limit > DEPTH else f"offset {offset} + limit {limit} is {offset + limit}"
        raise InvalidArgument(
            field,
            f"{what}, at most {DEPTH}: so many of each vector name RRF and DBSF rank",
            "FUSION_TOO_DEEP",
        )


def _threshold(proto: search_pb2.SearchRequest) -> float | None:
    if not proto.HasField("score_threshold"):
        return None
    if not math.isfinite(proto.score_threshold):
        raise InvalidArgument("score_threshold", f"must be finite, is {proto.score_threshold}")
    return proto.score_threshold


def _hnsw_ef(params: search_pb2.SearchParams) -> int:
    if params.hnsw_ef > _MAX_HNSW_EF:
        raise InvalidArgument("params.hnsw_ef", f"{params.hnsw_ef}, at most {_MAX_HNSW_EF}")
    return params.hnsw_ef


def _oversampling(params: search_pb2.SearchParams) -> float:
    factor = params.quantization_oversampling
    if factor and not 1 <= factor <= _MAX_OVERSAMPLING:  # NaN is not either
        raise InvalidArgument(
            "params.quantization_oversampling", f"{factor}; 1 to {_MAX_OVERSAMPLING}, or 0 for the default"
        )
    return factor


def _hit(hit: Hit, weak: bool, format: VectorFormat) -> search_pb2.Hit:
    return search_pb2.Hit(
        id=hit.point.id,
        score=hit.score,
        matched=_TARGETS.numbers[hit.matched],
        payload=write_payload(hit.point.payload),
        image_vector=write_optional(hit.point.image, format),
        text_vector=write_optional(hit.point.text, format),
        image_rank=hit.image_rank,
        text_rank=hit.text_rank,
        cosine=hit.cosine,
        weak=weak,
    )
