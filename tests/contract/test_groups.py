"""Groups of hits over whole services on each store: what one list of all points would give, grouped."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from clipsearch.serving.errors import InvalidArgument
from search_service.encoder.encoders import Encoders
from search_service.query.calibration_cache import CalibrationCache
from search_service.query.groups import GroupQuery, Groups
from search_service.query.queries import Query, Term, VectorTerm
from search_service.query.search import Search
from search_service.stores.filters import Filter, Range
from search_service.stores.protocol import (
    VECTOR_NAMES,
    PayloadSelection,
    StoredPoint,
)
from tests.contract.shop import NoEncoder, spec, vectors

POINTS = 150
QUERY = (Term(VectorTerm(vectors(9, 1)[0], "text")),)


def payload(i: int) -> dict[str, object]:
    """Most points are of one brand; some have several tags, or fields of another type, or none."""
    return {
        "n": i,
        "brand": "acme" if i % 10 else f"b{i % 7}",
        "year": 2000 + i % 4,
        "tags": [f"t{i % 5}", f"t{i % 3}", "all"],
        "mixed": [f"w{i % 3}", i % 2, 2.5, True, None][i % 5],
        "shop": {"city": f"c{i % 6}"},
        **({"rare": "yes"} if i in (70, 71) else {}),
    }


@pytest.fixture
async def searching(store):
    """A collection of images, texts and points of both, one field of it indexed; the searches over it."""
    made = spec(payload_indexes={"year": "integer", "n": "integer"})
    await store.create_collection(made)
    image, text = vectors(1, POINTS), vectors(2, POINTS)
    for i in range(7, POINTS, 7):
        image[i] = image[i - 1]  # ties
    await store.upsert(
        made.name,
        [
            StoredPoint(
                f"p{i}",
                payload(i),
                image=image[i] if i % 3 != 1 else None,
                text=text[i] if i % 3 != 0 else None,
            )
            for i in range(POINTS)
        ],
    )
    calibrations = CalibrationCache(store)
    calibrations.wrote(made.name, POINTS, VECTOR_NAMES)
    search = Search(store, Encoders(NoEncoder()), calibrations)
    yield made.name, search, Groups(store, search)
    await calibrations.close()


def grouped(hits: Sequence, values_of, limit: int, size: int) -> list[tuple]:
    """The same by hand."""
    groups: dict[object, list[str]] = {}
    for hit in hits:
        for value in dict.fromkeys(values_of(payload(int(hit.point.id[1:])))):
            if value in groups or len(groups) < limit:
                groups.setdefault(value, [])
                if len(groups[value]) < size:
                    groups[value].append(hit.point.id)
    return list(groups.items())


FIELDS = {
    "brand": lambda p: [p["brand"]],
    "year": lambda p: [p["year"]],
    "tags": lambda p: p["tags"],
    "tags[1]": lambda p: [p["tags"][1]],
    "shop.city": lambda p: [p["shop"]["city"]],
    "mixed": lambda p: [p["mixed"]] if type(p["mixed"]) in (str, int) else [],
    "rare": lambda p: [p["rare"]] if "rare" in p else [],
}


@pytest.mark.parametrize(
    ("target", "fusion"), [("image", "calibrated"), ("any", "calibrated"), ("any", "rrf"), ("any", "dbsf")]
)
async def test_groups_are_those_of_the_whole_ranking(searching, target, fusion):
    collection, search, groups = searching
    for only in (Filter(), Filter(must=(Range("n", gte=40),))):
        asked = Query(collection, QUERY, target, only, 2 * POINTS, fusion=fusion)
        [whole] = await search.search([asked])
        for field, values_of in FIELDS.items():
            if fusion != "calibrated" and field in ("rare", "mixed"):
                continue  # the ranks of points with the field are others than among all points
            for limit, size in ((1, 1), (2, 3), (10, 2), (30, 20)):
                query = GroupQuery(Query(collection, QUERY, target, only, limit, fusion=fusion), field, size)
                found, answer = await groups.search(query)
                by_hand = grouped(whole.hits, values_of, limit, size)
                assert [(g.value, [hit.point.id for hit in g.hits]) for g in found] == by_hand, field
                assert (answer.hits, answer.fusion) == ([], whole.fusion)


async def test_hits_come_with_what_is_asked_of_them(searching):
    collection, _, groups = searching
    query = Query(collection, QUERY, "image", limit=2, payload=PayloadSelection(("n",)), with_vectors=True)
    found, _ = await groups.search(GroupQuery(query, "year", 2))
    hits = [hit for group in found for hit in group.hits]
    assert len(hits) == 4
    for hit in hits:
        assert hit.point.payload == {"n": int(hit.point.id[1:])}
        assert hit.point.image is not None
    above = (hits[0].score + max(hit.score for hit in hits[1:])) / 2
    bounded = GroupQuery(Query(collection, QUERY, "image", score_threshold=above), "year", 2)
    found, _ = await groups.search(bounded)
    assert [hit.point.id for group in found for hit in group.hits] == [hits[0].point.id]


@pytest.mark.parametrize("lowest", [None, 2.0])  # above all cosines: nothing is found
async def test_a_field_with_nothing_to_group_by_is_told_whatever_is_found(searching, lowest):
    collection, _, groups = searching
    query = Query(collection, QUERY, "image", score_threshold=lowest)
    for field, reason in (("shop", "GROUP_TYPE_MISMATCH"), ("colour", "FILTER_FIELD_UNKNOWN")):
        with pytest.raises(InvalidArgument) as refused:
            await groups.search(GroupQuery(query, field, 2))
        assert (refused.value.reason, refused.value.field) == (reason, "group_by")
