"""What payloads add to scores, as every store promises it, and over a whole search."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from search_service.encoder.encoders import Encoders
from search_service.query.calibration_cache import CalibrationCache
from search_service.query.queries import Query, Term, VectorTerm
from search_service.query.search import Search
from search_service.stores.protocol import VECTOR_NAMES, StoredPoint
from search_service.stores.questions import Boost, Nearer, Newer, Popular
from tests.contract.shop import NoEncoder, unit, vectors

NOW = datetime(2024, 6, 1, tzinfo=UTC)
DAY_S = 86_400.0
ULM = {"lat": 48.4, "lon": 9.99}
BY = {
    "newer": Newer("made", NOW, 7 * DAY_S),
    "nearer": Nearer("shop.at", ULM["lat"], ULM["lon"], 10_000),
    "popular": Popular("sold", 50),
}
# A payload and what its fields give, in the order of BY.
PAYLOADS = [
    ({"made": NOW.isoformat(), "shop": {"at": ULM}, "sold": 50}, (1, 1, 0.5)),
    ({"made": (NOW - timedelta(days=7)).isoformat(), "sold": 150}, (0.5, 0, 0.75)),
    ({"made": (NOW + timedelta(days=14)).isoformat(), "sold": 0}, (0.25, 0, 0)),
    ({"made": "2024-05-25", "sold": -50}, (0.5, 0, 0)),
    ({"made": "soon", "shop": {"at": "Ulm"}, "sold": "many"}, (0, 0, 0)),
    ({"made": 5, "shop": {"at": {"lat": 1}}, "sold": True}, (0, 0, 0)),
    ({"made": [NOW.isoformat()] * 2, "shop": {"at": [ULM, ULM]}, "sold": [1, 2]}, (0, 0, 0)),
    ({"made": None, "shop": [], "sold": None}, (0, 0, 0)),
    ({}, (0, 0, 0)),
    ({"sold": 1e308}, (0, 0, 1)),
    # 10 km north, 1 degree of latitude being 111.195 km
    ({"shop": {"at": {**ULM, "lat": ULM["lat"] + 10 / 111.195}}, "sold": 0.5}, (0, 0.5, 0.5 / 50.5)),
]


@pytest.fixture
async def filled(store, collection) -> str:
    points = [StoredPoint(f"p{i}", payload, image=unit(1)) for i, (payload, _) in enumerate(PAYLOADS)]
    await store.upsert(collection, points)
    return collection


@pytest.mark.parametrize("kind", BY)
async def test_a_boost_is_what_the_payload_gives_and_0_where_that_is_of_another_type(store, filled, kind):
    ids = [f"p{i}" for i in range(len(PAYLOADS))]
    for weight in (1.0, -2.0):
        added = await store.boosts(filled, [*ids, "nobody"], [Boost(weight, BY[kind])])
        expected = {f"p{i}": weight * given[list(BY).index(kind)] for i, (_, given) in enumerate(PAYLOADS)}
        assert added == pytest.approx(expected, abs=2e-3)


async def test_several_boosts_add_up(store, filled):
    boosts = [Boost(2, BY["newer"]), Boost(1, BY["nearer"]), Boost(-1, BY["popular"])]
    added = await store.boosts(filled, ["p0", "p1", "p8"], boosts)
    assert added == pytest.approx({"p0": 2.5, "p1": 0.25, "p8": 0}, abs=1e-5)


@pytest.mark.parametrize(
    ("target", "fusion"), [("image", "calibrated"), ("any", "calibrated"), ("any", "rrf"), ("any", "dbsf")]
)
async def test_boosts_are_added_to_the_scores_of_a_search(store, collection, target, fusion):
    count = 60
    image, text = vectors(1, count), vectors(2, count)
    await store.upsert(
        collection,
        [StoredPoint(f"p{i}", {"sold": i % 7}, image=image[i], text=text[i]) for i in range(count)],
    )
    calibrations = CalibrationCache(store)
    calibrations.wrote(collection, count, VECTOR_NAMES)
    search = Search(store, Encoders(NoEncoder()), calibrations)

    async def ask(**fields):
        terms = (Term(VectorTerm(vectors(9, 1)[0], "text")),)
        query = Query(collection, terms, target, fusion=fusion, **fields)
        [answer] = await search.search([query])
        return answer.hits

    plain = {hit.point.id: hit.score for hit in await ask(limit=20)}
    boost = Boost(3, Popular("sold", 3))
    by_hand = {id: score + 3 * (int(id[1:]) % 7) / (int(id[1:]) % 7 + 3) for id, score in plain.items()}
    order = sorted(by_hand, key=lambda id: (-by_hand[id], id))
    assert order != list(plain)
    boosted = {"boosts": (boost,), "boost_candidates": 20}
    whole = await ask(limit=20, **boosted)
    assert [hit.point.id for hit in whole] == order
    for hit in whole:
        assert hit.score == pytest.approx(by_hand[hit.point.id], abs=1e-5)
        assert hit.score - hit.boost == pytest.approx(plain[hit.point.id], abs=1e-5)
        assert hit.point.payload == {"sold": int(hit.point.id[1:]) % 7}
    paged = [hit.point.id for offset in (0, 7, 14) for hit in await ask(limit=7, offset=offset, **boosted)]
    assert paged == order
    enough = (whole[5].score + whole[6].score) / 2
    assert [hit.point.id for hit in await ask(limit=20, score_threshold=enough, **boosted)] == order[:6]
    await calibrations.close()
