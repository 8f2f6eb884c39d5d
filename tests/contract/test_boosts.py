"""What payloads add to the scores of a search, over every store."""

from __future__ import annotations

import pytest

from search_service.encoder.encoders import Encoders
from search_service.query.calibration_cache import CalibrationCache
from search_service.query.queries import Boost, Nearer, Popular, Query, Term, VectorTerm
from search_service.query.search import Search
from search_service.stores.protocol import VECTOR_NAMES, StoredPoint
from tests.contract.shop import NoEncoder, unit, vectors


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


async def test_a_place_that_is_none_raises_no_score_and_fails_no_search(store, collection):
    places = {"ulm": {"lat": 48.4, "lon": 9.99}, "nowhere": {"lat": 95.0, "lon": 9.99}}
    await store.upsert(collection, [StoredPoint(id, {"at": at}, image=unit(1)) for id, at in places.items()])
    calibrations = CalibrationCache(store)
    search = Search(store, Encoders(NoEncoder()), calibrations)
    boosts = (Boost(1, Nearer("at", 48.4, 9.99, 1000)),)
    query = Query(collection, (Term(VectorTerm(unit(1))),), "image", boosts=boosts, boost_candidates=10)
    [answer] = await search.search([query])
    assert [(hit.point.id, hit.boost) for hit in answer.hits] == [("ulm", 1), ("nowhere", 0)]
    await calibrations.close()
