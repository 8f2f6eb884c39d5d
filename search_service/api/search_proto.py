"""Searches as they travel, alone and grouped: requests read, answers written.

Whatever is wrong with a request is told by its path.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice

from clipsearch.filters.paths import keys
from clipsearch.search.v1 import search_pb2
from clipsearch.serving.errors import InvalidArgument, inside
from search_service.api.filter_proto import read_filter
from search_service.api.payload_proto import write_payload
from search_service.api.point_proto import (
    EnumNames,
    VectorFormat,
    check_count,
    check_format,
    check_id,
    check_path,
    finite,
    read_selection,
    read_time,
    read_vector,
    write_value,
    write_vector,
)
from search_service.query.groups import Group, GroupQuery
from search_service.query.queries import (
    FUSION_DEPTH,
    Answer,
    Boost,
    Fusion,
    Hit,
    ImageTerm,
    Nearer,
    Newer,
    PointTerm,
    Popular,
    Query,
    Strategy,
    Target,
    Term,
    TextTerm,
    VectorTerm,
    check_weight,
)
from search_service.settings import SearchSettings
from search_service.stores.protocol import VectorName
from search_service.stores.questions import Mmr
from search_service.turns import in_turns

_DEFAULT_LIMIT = 10
_DEFAULT_GROUP_SIZE = 3
_DIVERSITY = 0.5
_CANDIDATES = 100
_MAX_HNSW_EF = 4096
_MAX_OVERSAMPLING = 100
_MAX_WEIGHT = 100
# Nobody measures in less or more, and what is divided by it stays a number.
_LEAST_SCALE, _MOST_SCALE = 1e-9, 1e30

_TARGETS = EnumNames[Target, search_pb2.Target.ValueType](Target, search_pb2.Target, "any")
_FUSIONS = EnumNames[Fusion, search_pb2.Fusion.ValueType](Fusion, search_pb2.Fusion, "calibrated")
_STRATEGIES = EnumNames[Strategy, search_pb2.Strategy.ValueType](
    Strategy, search_pb2.Strategy, "average_vector"
)
_KINDS = EnumNames[VectorName, search_pb2.TermKind.ValueType](VectorName, search_pb2.TermKind)


def read_search(proto: search_pb2.SearchRequest, limits: SearchSettings, path: str = "") -> Query:
    """The search that stands at `path` of the request. Raises InvalidArgument."""
    with inside(path):
        return _read(proto, limits, path)


def read_groups(proto: search_pb2.SearchGroupsRequest, limits: SearchSettings) -> GroupQuery:
    """The search. Raises InvalidArgument."""
    query = read_search(proto.search, limits, "search")
    if query.offset:
        raise InvalidArgument("search.offset", f"{query.offset}; groups have none, only a limit")
    if query.mmr is not None:
        raise InvalidArgument("search.mmr", "set together with group_by; groups have an order of their own")
    size = proto.group_size or _DEFAULT_GROUP_SIZE
    if query.limit * size > limits.max_limit:
        raise InvalidArgument(
            "group_size",
            f"{query.limit} groups of {size} hits are {query.limit * size}, at most {limits.max_limit}",
            "LIMIT_TOO_LARGE",
        )
    return GroupQuery(query, check_path(proto.group_by, "group_by"), size)


def check_limit(limit: int, most: int, field: str = "limit") -> int:
    """How many are wanted, where 0 is for the default. Raises InvalidArgument."""
    if limit > most:
        raise InvalidArgument(field, f"{limit}, at most {most}", "LIMIT_TOO_LARGE")
    return limit or _DEFAULT_LIMIT


async def write_answer(answer: Answer, format: VectorFormat) -> search_pb2.SearchResponse:
    """The answer as it travels."""
    return search_pb2.SearchResponse(
        hits=await _write_hits(answer.hits, answer, format),
        fingerprint=answer.fingerprint,
        timings=search_pb2.SearchTimings(encode_ms=1000 * answer.encode_s, store_ms=1000 * answer.store_s),
        tokens_dropped=answer.tokens_dropped,
        fused=answer.fusion is not None,
        fusion=_FUSIONS.numbers[answer.fusion]
        if answer.fusion is not None
        else search_pb2.FUSION_UNSPECIFIED,
        weak_match_below=answer.weak_match_below,
    )


async def write_groups(
    groups: Sequence[Group], answer: Answer, format: VectorFormat
) -> search_pb2.SearchGroupsResponse:
    """The groups as they travel."""
    hits = iter(await _write_hits([hit for group in groups for hit in group.hits], answer, format))
    return search_pb2.SearchGroupsResponse(
        groups=[
            search_pb2.Group(
                id=write_value(group.value),
                hits=islice(hits, len(group.hits)),
            )
            for group in groups
        ],
        search=await write_answer(answer, format),
    )


def _read(proto: search_pb2.SearchRequest, limits: SearchSettings, path: str) -> Query:
    check_count("query", len(proto.query), limits.max_terms, least=0 if proto.context else 1)
    check_count("context", len(proto.context), limits.max_terms, least=0)
    strategy = _STRATEGIES.name(proto.strategy, "strategy")
    if proto.context and strategy != "average_vector":
        raise InvalidArgument("strategy", "set together with context; it is one or the other")
    target, fusion = _TARGETS.name(proto.target, "target"), _FUSIONS.name(proto.fusion, "fusion")
    check_format(proto.vector_format)
    params, threshold = proto.params, proto.score_threshold if proto.HasField("score_threshold") else None
    if threshold is not None:
        finite(threshold, "score_threshold")
    if params.hnsw_ef > _MAX_HNSW_EF:
        raise InvalidArgument("params.hnsw_ef", f"{params.hnsw_ef}, at most {_MAX_HNSW_EF}")
    oversampling = params.quantization_oversampling
    if oversampling and not 1 <= oversampling <= _MAX_OVERSAMPLING:  # NaN is not either
        raise InvalidArgument(
            "params.quantization_oversampling",
            f"{oversampling}; 1 to {_MAX_OVERSAMPLING}, or 0 for the default",
        )
    limit = _limit(proto, target, fusion, limits)
    boosts, boost_candidates = _boosts(proto, proto.offset + limit, limits)
    if fusion == "hybrid":
        raise InvalidArgument("fusion", "FUSION_HYBRID is what answers say; searches ask for it by `hybrid`")
    hybrid = _hybrid(proto.hybrid, target) if proto.HasField("hybrid") else 0.0
    return Query(
        collection=proto.collection,
        terms=tuple(_term(term, f"query[{i}]", limits) for i, term in enumerate(proto.query)),
        target=target,
        filter=read_filter(proto.filter, limits),
        limit=limit,
        hybrid=hybrid,
        offset=proto.offset,
        score_threshold=threshold,
        with_vectors=proto.with_vectors,
        payload=read_selection(proto.payload),
        fusion=fusion,
        fingerprint=proto.fingerprint,
        exact=params.exact,
        hnsw_ef=params.hnsw_ef,
        rescore=params.quantization_rescore if params.HasField("quantization_rescore") else True,
        oversampling=oversampling,
        only_matches=proto.only_matches,
        path=path,
        strategy=strategy,
        mmr=_mmr(proto, proto.offset + limit, limits),
        boosts=boosts,
        boost_candidates=boost_candidates,
        context=tuple(_pair(pair, f"context[{i}]", limits) for i, pair in enumerate(proto.context)),
    )


def _pair(proto: search_pb2.ContextPair, field: str, limits: SearchSettings) -> tuple[Term, Term]:
    for name, term in (("positive", proto.positive), ("negative", proto.negative)):
        if term.HasField("weight"):
            raise InvalidArgument(f"{field}.{name}.weight", "terms of a context have none")
    return (
        _term(proto.positive, f"{field}.positive", limits),
        _term(proto.negative, f"{field}.negative", limits),
    )


def _hybrid(proto: search_pb2.Hybrid, target: Target) -> float:
    weight = proto.weight if proto.HasField("weight") else 1.0
    if not 0 < weight <= _MAX_WEIGHT:  # NaN is not either
        raise InvalidArgument(
            "hybrid.weight", f"{weight:g}; above 0, at most {_MAX_WEIGHT}", "WEIGHT_INVALID"
        )
    if target == "words":
        raise InvalidArgument("hybrid", "joins words with vectors, and target words asks for words alone")
    return weight


def _term(proto: search_pb2.QueryTerm, field: str, limits: SearchSettings) -> Term:
    weight = proto.weight if proto.HasField("weight") else 1.0
    kind = _KINDS.name(proto.kind, f"{field}.kind") if proto.kind else None
    if kind and proto.WhichOneof("term") != "vector":
        raise InvalidArgument(f"{field}.kind", "is of a vector only; the kind of other terms is known")
    name = _TARGETS.name(proto.vector_name, f"{field}.vector_name")
    if name == "words":
        raise InvalidArgument(f"{field}.vector_name", "TARGET_WORDS is no vector that a point term could be")
    if proto.vector_name and proto.WhichOneof("term") != "point_id":
        raise InvalidArgument(f"{field}.vector_name", "is of a point_id only; other terms have one vector")
    match proto.WhichOneof("term"):
        case "text":
            return Term(TextTerm(proto.text), weight)
        case "image":
            return Term(ImageTerm(proto.image), weight)
        case "vector":
            return Term(VectorTerm(read_vector(proto.vector, f"{field}.vector"), kind), weight)
        case "point_id":
            id = check_id(proto.point_id, f"{field}.point_id", limits)
            return Term(PointTerm(id, None if name == "any" else name), weight)
        case _:
            raise InvalidArgument(field, "empty; exactly one of text, image, vector and point_id must be set")


def _limit(proto: search_pb2.SearchRequest, target: Target, fusion: Fusion, limits: SearchSettings) -> int:
    limit = check_limit(proto.limit, limits.max_limit)
    if proto.offset + limit > limits.max_window:
        raise InvalidArgument(
            "offset",
            f"offset {proto.offset} + limit {limit} is {proto.offset + limit}, at most {limits.max_window}; "
            "ListPoints pages through everything",
            "WINDOW_TOO_LARGE",
        )
    ranks = (fusion != "calibrated" and target == "any") or target == "words" or proto.HasField("hybrid")
    if ranks and proto.offset + limit > FUSION_DEPTH:
        field, what = "offset", f"offset {proto.offset} + limit {limit} is {proto.offset + limit}"
        if limit > FUSION_DEPTH:
            field, what = "limit", f"{limit}"
        raise InvalidArgument(
            field,
            f"{what}, at most {FUSION_DEPTH}: so many of each list RRF, DBSF and hybrid searches rank",
            "FUSION_TOO_DEEP",
        )
    return limit


def _mmr(proto: search_pb2.SearchRequest, end: int, limits: SearchSettings) -> Mmr | None:
    """The diversity that is asked for; `end`: offset + limit. Raises InvalidArgument."""
    if not proto.HasField("mmr"):
        return None
    diversity = proto.mmr.diversity if proto.mmr.HasField("diversity") else _DIVERSITY
    if not 0 <= diversity <= 1:  # NaN is not either
        raise InvalidArgument("mmr.diversity", f"{diversity:g}; 0 to 1")
    candidates = proto.mmr.candidates_limit or max(_CANDIDATES, end)
    return Mmr(diversity, _check_candidates("mmr.candidates_limit", candidates, end, limits))


def _boosts(
    proto: search_pb2.SearchRequest, end: int, limits: SearchSettings
) -> tuple[tuple[Boost, ...], int]:
    """The boosts, and how many hits they are for; `end`: offset + limit. Raises InvalidArgument."""
    check_count("boosts", len(proto.boosts), limits.max_terms, least=0)
    if not proto.boosts:
        if proto.boost_candidates:
            raise InvalidArgument("boost_candidates", f"{proto.boost_candidates}, and there are no boosts")
        return (), 0
    candidates = proto.boost_candidates or max(_CANDIDATES, end)
    _check_candidates("boost_candidates", candidates, end, limits)
    now = datetime.now(UTC)
    return tuple(_boost(boost, f"boosts[{i}]", now) for i, boost in enumerate(proto.boosts)), candidates


def _boost(proto: search_pb2.Boost, field: str, now: datetime) -> Boost:
    weight = check_weight(proto.weight if proto.HasField("weight") else 1.0, f"{field}.weight")
    by: Newer | Nearer | Popular
    match proto.WhichOneof("by"):
        case "newer":
            newer, field = proto.newer, f"{field}.newer"
            target = read_time(newer.target, f"{field}.target") if newer.HasField("target") else now
            key = _key(newer.key, f"{field}.key")
            by = Newer(key, target, _scale(newer.scale_s, f"{field}.scale_s"))
        case "nearer":
            nearer, field = proto.nearer, f"{field}.nearer"
            for name, degrees, most in (("lat", nearer.lat, 90), ("lon", nearer.lon, 180)):
                if not -most <= degrees <= most:  # NaN is not either
                    raise InvalidArgument(f"{field}.{name}", f"{degrees:g}; -{most} to {most}")
            key = _key(nearer.key, f"{field}.key")
            by = Nearer(key, nearer.lat, nearer.lon, _scale(nearer.scale_m, f"{field}.scale_m"))
        case "popular":
            popular, field = proto.popular, f"{field}.popular"
            by = Popular(_key(popular.key, f"{field}.key"), _scale(popular.scale, f"{field}.scale"))
        case _:
            raise InvalidArgument(field, "empty; exactly one of newer, nearer and popular must be set")
    return Boost(weight, by)


def _key(path: str, field: str) -> str:
    if -1 in keys(check_path(path, field)):
        raise InvalidArgument(field, f"{path!r} leads to several values; a boost looks at one", "KEY_INVALID")
    return path


def _scale(scale: float, field: str) -> float:
    if not _LEAST_SCALE <= scale <= _MOST_SCALE:  # NaN is not either
        raise InvalidArgument(field, f"{scale:g}; {_LEAST_SCALE:g} to {_MOST_SCALE:g}")
    return scale


def _check_candidates(field: str, candidates: int, end: int, limits: SearchSettings) -> int:
    """Returns the candidates' number, if it is enough for offset + limit, and allowed."""
    check_limit(candidates, limits.max_limit, field)
    if candidates < end:
        raise InvalidArgument(field, f"{candidates}, fewer than offset + limit, which is {end}")
    return candidates


async def _write_hits(hits: Sequence[Hit], answer: Answer, format: VectorFormat) -> list[search_pb2.Hit]:
    return await in_turns(hits, lambda hit, _: _write_hit(hit, answer.weak(hit), format))


def _write_hit(hit: Hit, weak: bool, format: VectorFormat) -> search_pb2.Hit:
    """A hit as it travels."""
    return search_pb2.Hit(
        id=hit.point.id,
        score=hit.score,
        matched=_TARGETS.numbers[hit.matched],
        payload=write_payload(hit.point.payload),
        image_vector=write_vector(hit.point.image, format),
        text_vector=write_vector(hit.point.text, format),
        image_rank=hit.image_rank,
        text_rank=hit.text_rank,
        cosine=hit.cosine,
        weak=weak,
        boost=hit.boost,
        words_rank=hit.words_rank,
        words_score=hit.words_score,
    )
