"""Searches as they travel: requests read, answers written."""

from __future__ import annotations

import math

from clipsearch.search.v1 import search_pb2
from clipsearch.serving.errors import InvalidArgument
from search_service.api.filter_proto import read_filter
from search_service.api.ids import check_id
from search_service.api.payload_proto import write_payload
from search_service.api.point_proto import VectorFormat, check_format, read_selection, write_optional
from search_service.error_paths import inside
from search_service.query.fusion import DEPTH
from search_service.query.queries import Answer, Fusion, Hit, Query, Target
from search_service.query.terms import Picture, Ready, Stored, Term, Words
from search_service.settings import SearchSettings
from search_service.stores.protocol import Side
from search_service.write.vectors import read_vector

_DEFAULT_LIMIT = 10
_MAX_HNSW_EF = 4096
_MAX_OVERSAMPLING = 100

_TARGETS: dict[int, Target] = {
    search_pb2.TARGET_UNSPECIFIED: "any",
    search_pb2.TARGET_IMAGE: "image",
    search_pb2.TARGET_TEXT: "text",
    search_pb2.TARGET_ANY: "any",
}
_FUSIONS: dict[int, Fusion] = {
    search_pb2.FUSION_UNSPECIFIED: "calibrated",
    search_pb2.FUSION_CALIBRATED: "calibrated",
    search_pb2.FUSION_RRF: "rrf",
    search_pb2.FUSION_DBSF: "dbsf",
}
_FUSED: dict[Fusion, search_pb2.Fusion.ValueType] = {
    "calibrated": search_pb2.FUSION_CALIBRATED,
    "rrf": search_pb2.FUSION_RRF,
    "dbsf": search_pb2.FUSION_DBSF,
}
_KINDS: dict[int, Side | None] = {
    search_pb2.TERM_KIND_UNSPECIFIED: None,
    search_pb2.TERM_KIND_IMAGE: "image",
    search_pb2.TERM_KIND_TEXT: "text",
}
_SIDES: dict[Side, search_pb2.Target.ValueType] = {
    "image": search_pb2.TARGET_IMAGE,
    "text": search_pb2.TARGET_TEXT,
}


def read_search(proto: search_pb2.SearchRequest, limits: SearchSettings, place: str = "") -> Query:
    """The search that stands at `place` of the request. Raises InvalidArgument."""
    with inside(place):
        return _read(proto, limits, place)


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
        fusion=_FUSED[answer.fusion] if answer.fusion is not None else search_pb2.FUSION_UNSPECIFIED,
        weak_match_below=answer.weak_match_below,
    )


def _read(proto: search_pb2.SearchRequest, limits: SearchSettings, place: str) -> Query:
    if not 1 <= len(proto.query) <= limits.max_terms:
        raise InvalidArgument(
            "query",
            f"{len(proto.query)} terms given, 1 to {limits.max_terms} are allowed",
            "COUNT_OUT_OF_RANGE",
        )
    if proto.target not in _TARGETS:
        raise InvalidArgument("target", f"{proto.target} is none of this API's targets")
    if proto.fusion not in _FUSIONS:
        raise InvalidArgument("fusion", f"{proto.fusion} is none of this API's fusions")
    check_format(proto.vector_format)
    params = proto.params
    return Query(
        collection=proto.collection,
        terms=tuple(_term(term, f"query[{i}]", limits) for i, term in enumerate(proto.query)),
        target=_TARGETS[proto.target],
        filter=read_filter(proto.filter, limits),
        limit=_limit(proto, limits),
        offset=proto.offset,
        score_threshold=_threshold(proto),
        with_vectors=proto.with_vectors,
        payload=read_selection(proto.payload),
        fusion=_FUSIONS[proto.fusion],
        fingerprint=proto.fingerprint,
        exact=params.exact,
        hnsw_ef=_hnsw_ef(params),
        rescore=params.quantization_rescore if params.HasField("quantization_rescore") else True,
        oversampling=_oversampling(params),
        place=place,
    )


def _term(proto: search_pb2.QueryTerm, field: str, limits: SearchSettings) -> Term:
    weight = proto.weight if proto.HasField("weight") else 1.0
    if proto.kind not in _KINDS:
        raise InvalidArgument(f"{field}.kind", f"{proto.kind} is none of this API's kinds")
    if proto.kind and proto.WhichOneof("term") != "vector":
        raise InvalidArgument(f"{field}.kind", "is of a vector only; the kind of other terms is known")
    match proto.WhichOneof("term"):
        case "text":
            return Term(Words(proto.text), weight)
        case "image":
            return Term(Picture(proto.image), weight)
        case "vector":
            return Term(Ready(read_vector(proto.vector, f"{field}.vector"), _KINDS[proto.kind]), weight)
        case "point_id":
            return Term(Stored(check_id(proto.point_id, f"{field}.point_id", limits)), weight)
        case _:
            raise InvalidArgument(field, "empty; exactly one of text, image, vector and point_id must be set")


def _limit(proto: search_pb2.SearchRequest, limits: SearchSettings) -> int:
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
    if _FUSIONS[proto.fusion] != "calibrated" and _TARGETS[proto.target] == "any":
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
        matched=_SIDES[hit.matched],
        payload=write_payload(hit.point.payload),
        image_vector=write_optional(hit.point.image, format),
        text_vector=write_optional(hit.point.text, format),
        image_rank=hit.image_rank,
        text_rank=hit.text_rank,
        cosine=hit.cosine,
        weak=weak,
    )
