"""Plain values to the search service's requests. No I/O but reading the images that are given as paths.

Raises TypeError and ValueError (FilterError for filters) where a value cannot be sent at all; what the
service can judge is left to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Unpack

from clipsearch.client import convert, inputs
from clipsearch.client.convert import FUSIONS, STRATEGIES, TARGETS, choice
from clipsearch.client.errors import ArgumentError, ArgumentTypeError
from clipsearch.client.inputs import (
    Boost,
    Fusion,
    ImageLike,
    Point,
    Search,
    SearchOptions,
    Strategy,
    Target,
    Term,
    VectorLike,
    message,
)
from clipsearch.encoder.v1 import vector_pb2
from clipsearch.filters.convert import FilterLike, to_proto
from clipsearch.search.v1 import filter_pb2, search_pb2

F32 = vector_pb2.VECTOR_FORMAT_F32_BYTES


def search(
    collection: str,
    text: str | None = None,
    *,
    image: ImageLike | None = None,
    vector: VectorLike | None = None,
    point_id: str | None = None,
    query: Sequence[Term] = (),
    target: Target = "any",
    hybrid: bool | float = False,
    filter: FilterLike | None = None,
    limit: int = 10,
    offset: int = 0,
    score_threshold: float | None = None,
    exact: bool = False,
    hnsw_ef: int = 0,
    rescore: bool | None = None,
    oversampling: float = 0.0,
    fusion: Fusion = "calibrated",
    diversity: float | None = None,
    diversity_candidates: int = 0,
    boosts: Sequence[Boost] = (),
    boost_candidates: int = 0,
    strategy: Strategy = "average_vector",
    context: Sequence[tuple[Term, Term]] = (),
    only_matches: bool = False,
    fingerprint: str = "",
    payload: bool | Sequence[str] = True,
    with_vectors: bool = False,
) -> search_pb2.SearchRequest:
    """Finds the points nearest to a text, an image, a vector, a stored point, or several of them.

    See `clipsearch.client.inputs.SearchOptions` for the options.
    """
    inputs.string(collection, "collection")
    inputs.whole(limit, "limit", least=1)  # 0 would mean 10
    inputs.whole(offset, "offset")
    inputs.whole(hnsw_ef, "hnsw_ef")
    inputs.whole(boost_candidates, "boost_candidates")
    inputs.whole(diversity_candidates, "diversity_candidates")
    named = (("text", text), ("image", image), ("vector", vector), ("point_id", point_id))
    single = [Term(**{name: value}) for name, value in named if value is not None]  # type: ignore[arg-type]
    request = message(
        search_pb2.SearchRequest,
        collection=collection,
        target=choice("target", target, TARGETS),
        filter=optional_filter(filter),
        limit=limit,
        offset=offset,
        score_threshold=score_threshold,
        with_vectors=with_vectors,
        params=message(
            search_pb2.SearchParams,
            lambda name: name.removeprefix("quantization_"),
            exact=exact,
            hnsw_ef=hnsw_ef,
            quantization_rescore=rescore,
            quantization_oversampling=oversampling,
        ),
        fusion=choice("fusion", fusion, FUSIONS),
        strategy=choice("strategy", strategy, STRATEGIES),
        boost_candidates=boost_candidates,
        only_matches=only_matches,
        hybrid=convert.hybrid(hybrid),
        payload=payload_selector(payload),
        fingerprint=fingerprint,
        vector_format=F32,
    )
    terms = inputs.each(query, Term, "query", "terms")
    for i, term in enumerate([*single, *terms]):  # filled in place: an image is copied once, not twice
        convert.fill_term(request.query.add(), term, f"query[{i}]")
    if diversity is not None:
        called = {"diversity": "diversity", "candidates_limit": "diversity_candidates"}.__getitem__
        mmr = message(search_pb2.Mmr, called, diversity=diversity, candidates_limit=diversity_candidates)
        request.mmr.CopyFrom(mmr)
    elif diversity_candidates:
        raise ArgumentError("diversity_candidates: they are for diversity, give that too")
    for i, boost in enumerate(inputs.listed(boosts, "boosts", "boosts")):
        convert.fill_boost(request.boosts.add(), boost, f"boosts[{i}]")
    for i, pair in enumerate(inputs.listed(context, "context", "pairs of terms")):
        convert.fill_pair(request.context.add(), pair, f"context[{i}]")
    return request


def search_batch(collection: str, searches: Iterable[Search]) -> search_pb2.SearchBatchRequest:
    """Several searches in one call: `[{"text": "a cat"}, {"image": "cat.jpg", "limit": 3}]`."""
    request = search_pb2.SearchBatchRequest()
    for i, options in enumerate(inputs.listed(searches, "searches", "searches such as {'text': 'a cat'}")):
        if not isinstance(options, Mapping):
            raise ArgumentTypeError(
                f"searches[{i}]: must be a dict such as {{'text': 'a cat'}}, is {options!r}"
            )
        request.searches.append(search(collection, **options))
    return request


def search_groups(
    collection: str,
    text: str | None = None,
    *,
    group_by: str,
    group_size: int = 3,
    **options: Unpack[SearchOptions],
) -> search_pb2.SearchGroupsRequest:
    """Finds the best points of each value of a payload field, with the options of `search`.

    `limit` counts groups, of at most `group_size` hits each; there is no `offset`.
    """
    inputs.whole(group_size, "group_size", least=1)
    return message(
        search_pb2.SearchGroupsRequest,
        search=search(collection, text, **options),
        group_by=inputs.string(group_by, "group_by"),
        group_size=group_size,
    )


def upsert(
    collection: str,
    points: Iterable[Point],
    *,
    wait: bool = True,
    insert_only: bool = False,
    fingerprint: str = "",
) -> search_pb2.UpsertRequest:
    """Writes at most 256 points (a server setting), replacing those of the same ids.

    With `insert_only` points that are there stay as they are, and nothing is encoded for them.
    A point that cannot be written fails alone, in its result. For more, see `clipsearch.ingest`.
    """
    request = message(
        search_pb2.UpsertRequest,
        collection=collection,
        wait=wait,
        update_mode=search_pb2.UPDATE_MODE_INSERT_ONLY if insert_only else search_pb2.UPDATE_MODE_UPSERT,
        fingerprint=fingerprint,
    )
    # Filled in place: points made one by one and copied take three times as long.
    for i, point in enumerate(inputs.each(points, Point, "points", "points")):
        convert.fill_point(request.points.add(), point, f"points[{i}]")
    return request


def get_points(
    collection: str, ids: Iterable[str], *, payload: bool | Sequence[str] = True, with_vectors: bool = False
) -> search_pb2.GetPointsRequest:
    """Those of at most 1000 points that exist, in the order of `ids`."""
    return message(
        search_pb2.GetPointsRequest,
        collection=collection,
        ids=inputs.ids(ids),
        payload=payload_selector(payload),
        with_vectors=with_vectors,
        vector_format=F32,
    )


def delete_points(
    collection: str, ids: Iterable[str] | None = None, *, filter: FilterLike | None = None
) -> search_pb2.DeletePointsRequest:
    """Deletes by ids or by filter; returns how many points existed and are gone."""
    selected, matching = _selector(ids, filter)
    return message(search_pb2.DeletePointsRequest, collection=collection, ids=selected, filter=matching)


def update_payload(
    collection: str,
    ids: Iterable[str] | None = None,
    *,
    filter: FilterLike | None = None,
    set: Mapping[str, Any] | None = None,
    delete: Iterable[str] = (),
    overwrite: bool = False,
) -> search_pb2.UpdatePayloadRequest:
    """Changes payloads, by ids or by filter; nothing is encoded. Returns how many points existed.

    Fields in `delete` (top-level or dotted) go, then the top-level fields of `set` get their values, and
    all others stay. With `overwrite` none stays but those of `set`: without any the payload is cleared.
    """
    selected, matching = _selector(ids, filter)
    request = message(
        search_pb2.UpdatePayloadRequest,
        collection=collection,
        ids=selected,
        filter=matching,
        delete=inputs.strings(delete, "delete", "fields", ordered=False),
        overwrite=overwrite,
    )
    if set:
        convert.fill_struct(request.set, set, "set")
    return request


def update_vectors(
    collection: str, points: Iterable[Point], *, wait: bool = True, fingerprint: str = ""
) -> search_pb2.UpdateVectorsRequest:
    """Gives at most 256 points that are there other vectors, of the image, the text, or both.

    Vectors that are not given stay, and so do payloads; the points here have none. A point that cannot be
    changed fails alone, in its result.
    """
    request = message(
        search_pb2.UpdateVectorsRequest, collection=collection, wait=wait, fingerprint=fingerprint
    )
    for i, point in enumerate(inputs.each(points, Point, "points", "points")):
        convert.fill_point(request.points.add(), point, f"points[{i}]")
    return request


def delete_vectors(
    collection: str,
    ids: Iterable[str] | None = None,
    *,
    filter: FilterLike | None = None,
    vectors: Iterable[str],
) -> search_pb2.DeleteVectorsRequest:
    """Removes vectors (`"image"`, `"text"`), by ids or by filter. Returns how many points existed."""
    selected, matching = _selector(ids, filter)
    return message(
        search_pb2.DeleteVectorsRequest,
        collection=collection,
        ids=selected,
        filter=matching,
        vectors=inputs.strings(vectors, "vectors", "names", ordered=False),
    )


def count(collection: str, *, filter: FilterLike | None = None) -> search_pb2.CountPointsRequest:
    """How many points match."""
    return message(search_pb2.CountPointsRequest, collection=collection, filter=optional_filter(filter))


def facet(
    collection: str,
    key: str,
    *,
    filter: FilterLike | None = None,
    limit: int = 10,
    exact: bool = False,
) -> search_pb2.FacetRequest:
    """The most frequent values of a payload field, with how many points have each.

    The field needs a payload index of type keyword, integer or bool.
    """
    inputs.whole(limit, "limit", least=1)
    return message(
        search_pb2.FacetRequest,
        collection=collection,
        key=inputs.string(key, "key"),
        filter=optional_filter(filter),
        limit=limit,
        exact=exact,
    )


def list_page(
    collection: str,
    *,
    page_token: str = "",
    filter: FilterLike | None = None,
    page_size: int = 100,
    payload: bool | Sequence[str] = True,
    with_vectors: bool = False,
    order_by: str | None = None,
    descending: bool = False,
    start_from: float | datetime | None = None,
    sample: bool = False,
) -> search_pb2.ListPointsRequest:
    """One page of the points that match, in a stable order; `page_token` is that of the page before.

    `order_by`: a payload field with an index of type integer, float or datetime, whose values order the
    points from `start_from` on (a time without a zone is UTC's). With `sample`, `page_size` points at random.
    """
    return message(
        search_pb2.ListPointsRequest,
        order_by=convert.order(order_by, descending, start_from),
        sample=search_pb2.SAMPLE_RANDOM if sample else search_pb2.SAMPLE_UNSPECIFIED,
        collection=collection,
        filter=optional_filter(filter),
        page_size=page_size,
        page_token=page_token,
        with_vectors=with_vectors,
        payload=payload_selector(payload),
        vector_format=F32,
    )


def list_points(
    collection: str,
    *,
    filter: FilterLike | None = None,
    page_size: int = 100,
    payload: bool | Sequence[str] = True,
    with_vectors: bool = False,
    order_by: str | None = None,
    descending: bool = False,
    start_from: float | datetime | None = None,
) -> search_pb2.ListPointsRequest:
    """All points that match, fetched page by page as they are asked for.

    In a stable order, or in that of the values of `order_by`, as in `list_page`.
    """
    return list_page(
        collection,
        filter=filter,
        page_size=page_size,
        payload=payload,
        with_vectors=with_vectors,
        order_by=order_by,
        descending=descending,
        start_from=start_from,
    )


def optional_filter(filter: FilterLike | None) -> filter_pb2.Filter | None:
    """The filter as it travels, or nothing."""
    return None if filter is None else to_proto(filter)


def payload_selector(payload: bool | Sequence[str]) -> search_pb2.PayloadSelector | None:
    """All of the payload (True), none of it (False), or some fields."""
    if payload is True:
        return None
    if payload is False:
        return search_pb2.PayloadSelector(none=True)
    fields = inputs.strings(payload, "payload", "fields (or True, or False)", ordered=False)
    return search_pb2.PayloadSelector(include=fields) if fields else search_pb2.PayloadSelector(none=True)


def _selector(
    ids: Iterable[str] | None, filter: FilterLike | None
) -> tuple[search_pb2.PointIds | None, filter_pb2.Filter | None]:
    if (ids is None) == (filter is None):
        raise ArgumentError("give either ids or filter")
    if ids is not None:
        return search_pb2.PointIds(ids=inputs.ids(ids)), None
    return None, optional_filter(filter)
