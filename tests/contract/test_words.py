"""Words of a payload field: looked up, kept true by every write, and fused with what vectors find."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from search_service.encoder.client import Encoded, Encoding
from search_service.encoder.encoders import Encoders
from search_service.query.calibration_cache import CalibrationCache
from search_service.query.queries import Query, Term, TextTerm
from search_service.query.search import Search
from search_service.stores.filters import Filter, HasId, MatchValue
from search_service.stores.protocol import (
    PayloadChange,
    StoredPoint,
    VectorQuery,
    WordsQuery,
)
from tests.contract.shop import spec, unit

TITLES = {
    "knife": "Kitchen knife, part KX-4711",
    "bread": "Bread knife BX-1",
    "sofa": "A red sofa, part SO-4711",
    "bare": None,
}


@pytest.fixture
async def goods(store) -> str:
    """A collection that keeps the words of `title`; one of its points has none."""
    made = spec(bm25_field="title", shard_number=1)  # each shard counts how rare words are in it
    await store.create_collection(made)
    await store.upsert(
        made.name,
        [
            StoredPoint(id, {"title": title, "n": n} if title else {"n": n}, image=unit(1, n))
            for n, (id, title) in enumerate(TITLES.items())
        ],
    )
    return made.name


async def looked_up(store, collection: str, words: str, **more) -> list[str]:
    (found,) = await store.query(collection, [WordsQuery(words, 10, **more)])
    return [one.point.id for one in found]


async def test_the_field_stands_among_the_settings(store, goods, collection):
    assert (await store.resolve(goods)).bm25_field == "title"
    assert (await store.get_collection(goods)).spec.bm25_field == "title"
    assert (await store.resolve(collection)).bm25_field == ""


async def test_rare_words_count_and_each_hit_tells_its_share_of_them(store, goods):
    (found,) = await store.query(goods, [WordsQuery("kx-4711", 10)])
    assert [one.point.id for one in found] == ["knife", "sofa"]
    assert [one.score for one in found] == pytest.approx([2.4225, 0.7869], abs=2e-4)  # on every store
    assert [one.share for one in found] == [1, 0.5]
    assert found[0].point.payload == {}


async def test_several_questions_of_both_kinds_are_answered_in_order(store, goods):
    nothing_to_look_up = WordsQuery("of the", 10)
    questions = [
        WordsQuery("sofas", 10),
        nothing_to_look_up,
        VectorQuery(unit(1), "image", 2),
        WordsQuery("knife", 1),
    ]
    sofas, nothing, nearest, knife = await store.query(goods, questions)
    assert [one.point.id for one in sofas] == ["sofa"]
    assert nothing == []
    assert [one.point.id for one in nearest] == ["knife", "bread"]
    assert len(knife) == 1
    assert await store.query(goods, [nothing_to_look_up]) == [[]]


async def test_filters_narrow_what_words_find(store, goods):
    assert await looked_up(store, goods, "4711", filter=Filter(must=(MatchValue("n", 2),))) == ["sofa"]
    assert await looked_up(store, goods, "4711", filter=Filter(must_not=(HasId(("sofa",)),))) == ["knife"]


async def test_vectors_come_back_without_the_words(store, goods):
    (point,) = await store.get(goods, ["knife"], with_vectors=True)
    np.testing.assert_allclose(point.image, unit(1, 0), atol=1e-6)
    assert point.payload == {"title": TITLES["knife"], "n": 0}
    (hits,) = await store.query(goods, [VectorQuery(unit(1), "image", 1, with_vectors=True)])
    np.testing.assert_allclose(hits[0].point.image, unit(1, 0), atol=1e-6)


async def test_words_follow_every_write(store, goods):
    async def change(**changes) -> None:
        assert await store.update_payload(goods, ["knife", "nobody"], PayloadChange(**changes)) == 1

    await change(set={"n": 7})
    assert await looked_up(store, goods, "KX") == ["knife"]
    await change(set={"title": "a fork"})
    assert (await looked_up(store, goods, "fork"), await looked_up(store, goods, "KX")) == (["knife"], [])
    await change(delete=("title",))
    assert await looked_up(store, goods, "fork") == []
    await change(set={"title": ["two", "spoons"]})
    assert await looked_up(store, goods, "spoon") == ["knife"]
    await change(set={"title": 5}, whole=True)
    assert await looked_up(store, goods, "spoon") == []
    await store.upsert(goods, [StoredPoint("knife", {"title": "a ladle"}, image=unit(1))])
    assert await looked_up(store, goods, "ladle") == ["knife"]
    await store.upsert(goods, [StoredPoint("knife", {"title": "a pan"}, image=unit(1))], insert_only=True)
    assert await looked_up(store, goods, "pan") == []
    await store.update_vectors(goods, [StoredPoint("knife", {}, image=unit(2), text=unit(1))], wait=True)
    await store.delete_vectors(goods, ["knife"], ["image"])
    assert await looked_up(store, goods, "ladle") == ["knife"]
    await store.delete(goods, ["knife"])
    assert await looked_up(store, goods, "ladle") == []
    assert await looked_up(store, goods, "bread") == ["bread"]


async def test_words_stay_where_settings_change(store, goods):
    await store.update_collection(goods, {"on_disk_vectors": True, "hnsw_m": 8})
    assert (await store.resolve(goods)).bm25_field == "title"
    (found,) = await store.query(goods, [WordsQuery("kx-4711", 10)])
    assert [one.score for one in found] == pytest.approx([2.4225, 0.7869], abs=2e-4)


async def test_words_are_those_of_the_last_of_several_writers(store, goods):
    names = [f"number{n}" for n in range(12)]
    await asyncio.gather(
        *(store.update_payload(goods, ["sofa"], PayloadChange(set={"title": name})) for name in names[:8]),
        *(store.upsert(goods, [StoredPoint("sofa", {"title": name}, image=unit(1))]) for name in names[8:]),
    )
    (sofa,) = await store.get(goods, ["sofa"])
    found = [name for name in names if await looked_up(store, goods, name)]
    assert found == [sofa.payload["title"]]


async def test_the_field_may_lie_in_lists_of_objects(store):
    made = spec(bm25_field="parts[].name")
    await store.create_collection(made)
    payload = {"parts": [{"name": "wheel"}, {"name": ["axle", 3]}, {}], "name": "car"}
    await store.upsert(made.name, [StoredPoint("p", payload, image=unit(1))])
    assert await looked_up(store, made.name, "axle") == ["p"]
    assert await looked_up(store, made.name, "car") == []
    change = PayloadChange(set={"parts": [{"name": "saddle"}]})
    await store.update_payload(made.name, ["p"], change)
    assert await looked_up(store, made.name, "saddle") == ["p"]
    assert await looked_up(store, made.name, "axle") == []


class Meaning:
    """An encoder that knows what a sofa is, and takes everything else for bread."""

    async def encode(self, texts, images) -> Encoding:
        sofa, bread = unit(1, 2), unit(1, 1)
        vectors = [Encoded(sofa if "sit" in text or "knife" in text else bread) for text in texts]
        return Encoding(vectors, [], "f" * 32)


@pytest.fixture
async def search(store):
    calibrations = CalibrationCache(store)
    yield Search(store, Encoders(Meaning()), calibrations)
    await calibrations.close()


@pytest.mark.parametrize(
    ("asked", "meant", "by_vectors", "by_words"),
    [
        ("KX-4711", "knife", "bread", "knife"),  # vectors know no part numbers
        ("kitchen knife", "knife", "sofa", "knife"),
        ("something to sit on", "sofa", "sofa", None),  # words know no paraphrases
        ("soft, to sit on, far from any knife and table", "sofa", "sofa", "bread"),  # and go astray
    ],
)
async def test_hybrid_searches_find_what_words_or_vectors_miss(
    search, goods, asked, meant, by_vectors, by_words
):
    def query(**options) -> Query:
        return Query(goods, (Term(TextTerm(asked)),), **options)

    searches = [
        query(),
        query(target="words"),
        query(hybrid=1.0),
        query(hybrid=1.0, target="image"),
    ]
    answers = await search.search(searches)
    first = [answer.hits[0].point.id if answer.hits else None for answer in answers]
    assert first == [by_vectors, by_words, meant, meant]
    assert [answer.fusion for answer in answers] == [None, None, "hybrid", "hybrid"]
    assert len(answers[2].hits) == len(TITLES)
