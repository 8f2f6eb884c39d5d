"""Callers whose tokens are restricted to a tenant: what they write, what is refused, what is left alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clipsearch import AsyncClient
from clipsearch.ingest import Ingest, PictureFolder
from clipsearch.search.v1 import collection_pb2, search_pb2
from clipsearch.serving.security.auth import Guard
from clipsearch.serving.security.tokens import Grants, Scope
from search_service.stores.edge.store import QdrantEdge
from search_service.stores.tenant import for_callers
from tests.unit.clipsearch.serving.served import TokenMaker
from tests.unit.search_service.served import (
    Client,
    parse,
    point,
    refusal,
    refused,
    serving,
    term,
    unit,
)


@dataclass
class Served:
    """A service with a collection `c`, and the tokens of two tenants and of somebody restricted to none."""

    client: Client
    acme: str
    beta: str
    operator: str

    async def upsert(self, token: str, *points: search_pb2.Point, collection: str = "c") -> list[Any]:
        request = search_pb2.UpsertRequest(collection=collection, points=points)
        return list((await self.client.points.Upsert(request, metadata=shown(token))).results)

    async def ids(self, token: str, collection: str = "c") -> set[str]:
        listed = search_pb2.ListPointsRequest(collection=collection)
        answer = await self.client.points.ListPoints(listed, metadata=shown(token))
        return {one.id for one in answer.points}

    async def count(self, token: str, filter: str) -> int:
        counted = search_pb2.CountPointsRequest(collection="c", filter=parse(filter))
        return (await self.client.points.CountPoints(counted, metadata=shown(token))).count

    async def create(self, name: str) -> None:
        made = collection_pb2.CreateCollectionRequest(name=name)
        await self.client.collections.CreateCollection(made, metadata=shown(self.operator))


def shown(token: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {token}")]


@pytest.fixture
async def served(tmp_path: Path, encoder, settings) -> AsyncIterator[Served]:
    made = TokenMaker(tmp_path / "tokens")
    scopes = [Scope.SEARCH, Scope.WRITE]
    acme, beta = (made.add(v, *scopes, tenant={"field": "shop", "value": v}) for v in ("acme", "beta"))
    operator = made.add("operator", *Scope)
    guard = Guard(Grants(made.path))
    async with serving(tmp_path / "data", encoder.address, settings, guard=guard) as client:
        it = Served(client, acme, beta, operator)
        await it.create("c")
        yield it


async def test_points_of_one_id_are_each_tenants_own(served):
    for token, n in ((served.acme, 1), (served.beta, 2)):
        [result] = await served.upsert(token, point("1.jpg", {"n": n}, image=b"x"))
        assert result.status.code == 0
    assert await served.ids(served.acme) == await served.ids(served.beta) == {"1.jpg"}
    assert await served.ids(served.operator) == {"acme/1.jpg", "beta/1.jpg"}
    asked = search_pb2.SearchRequest(collection="c", query=[term(b"x")], target=search_pb2.TARGET_IMAGE)
    [hit] = (await served.client.points.Search(asked, metadata=shown(served.beta))).hits
    assert (hit.id, dict(hit.payload)) == ("1.jpg", {"n": 2, "shop": "beta"})


async def test_a_point_that_says_it_is_anothers_fails_alone(served):
    results = await served.upsert(
        served.acme,
        point("a", {"shop": "acme"}, image=b"a"),
        point("b", {"shop": "beta"}, image=b"b"),
        point("../c", image=b"c"),
    )
    assert results[0].status.code == 0
    assert [(refusal(r.status).field, refusal(r.status).reason) for r in results[1:]] == [
        ("points[1].payload.shop", "TENANT_FIXED"),
        ("points[2].id", "ID_INVALID"),
    ]
    assert await served.ids(served.operator) == {"acme/a"}


async def test_an_id_is_measured_as_it_is_stored(served):
    results = await served.upsert(served.acme, *(point("a" * n, image=b"a") for n in (507, 508)))
    assert [result.status.code for result in results] == [0, 3]
    assert refusal(results[1].status).reason == "ID_INVALID"
    assert await served.ids(served.operator) == {"acme/" + "a" * 507}


async def test_a_payload_is_measured_as_it_is_stored(served, settings):
    def payload(size: int, **more: str) -> dict[str, str]:
        """Of so many bytes."""
        made = {"x": "", **more}
        while (missing := size - point("", made).payload.ByteSize()) > 0:
            made["x"] += "x" * max(1, missing - 8)
        return made

    most, own = settings.max_payload_bytes, {"shop": "acme"}
    room = most - point("", own).payload.ByteSize()
    results = await served.upsert(
        served.acme,
        point("fits", payload(room), image=b"a"),
        point("too large", payload(room + 1), image=b"a"),
        point("says so itself", payload(most, **own), image=b"a"),
    )
    assert [result.status.code for result in results] == [0, 3, 0]
    told = refusal(results[1].status)
    assert (told.field, told.reason) == ("points[1].payload", "PAYLOAD_TOO_LARGE")
    request = search_pb2.UpdatePayloadRequest(
        collection="c", ids=search_pb2.PointIds(ids=["fits"]), overwrite=True
    )
    request.set.update(payload(room + 1))
    told = await refused(served.client.points.UpdatePayload(request, metadata=shown(served.acme)))
    assert (told.field, told.reason) == ("set", "PAYLOAD_TOO_LARGE")
    asked = search_pb2.ListPointsRequest(collection="c")
    stored = await served.client.points.ListPoints(asked, metadata=shown(served.operator))
    assert {one.payload.ByteSize() for one in stored.points} == {most}


async def test_a_shared_point_that_is_left_as_it_is_refuses_no_change(served, settings):
    full = {"shop": ["acme", "beta"], "x": "x" * (settings.max_payload_bytes - 200)}
    await served.upsert(served.operator, point("both", full, image=b"a"))
    await served.upsert(served.acme, point("own", image=b"a"))
    request = search_pb2.UpdatePayloadRequest(collection="c", ids=search_pb2.PointIds(ids=["../both", "own"]))
    request.set.update({"y": "y" * 500})
    answer = await served.client.points.UpdatePayload(request, metadata=shown(served.acme))
    assert answer.updated == 1


@pytest.mark.parametrize("spelt", ["shop", '"shop"', "shop[]"])
async def test_the_tenants_own_field_comes_back_however_it_is_spelt(served, spelt):
    await served.upsert(served.acme, point("a", {"n": 1}, image=b"a"))
    asked = search_pb2.GetPointsRequest(collection="c", ids=["a"])
    asked.payload.include.append(spelt)
    answer = await served.client.points.GetPoints(asked, metadata=shown(served.acme))
    assert [dict(one.payload) for one in answer.points] == [{"shop": "acme"}]


async def test_an_id_that_others_took_is_refused_and_theirs_stays(served):
    await served.upsert(served.operator, point("acme/a", {"shop": "beta"}, image=b"a"))
    first, second = await served.upsert(served.acme, point("a", image=b"b"), point("b", image=b"b"))
    told = refusal(first.status)
    assert (told.code, told.reason, told.metadata) == ("ALREADY_EXISTS", "POINT_EXISTS", {"point": "a"})
    assert second.status.code == 0
    assert await served.ids(served.beta) == {"../acme/a"}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"set": {"shop": "beta"}}, "set.shop"),
        ({"set": {"shop": None}}, "set.shop"),
        ({"set": {"shop": ["acme", "beta"]}, "overwrite": True}, "set.shop"),
        ({"delete": ["n", "shop"]}, "delete[1]"),
    ],
)
async def test_a_change_that_would_give_points_away_is_refused(served, change, field):
    await served.upsert(served.acme, point("a", {"n": 1}, image=b"a"))
    request = search_pb2.UpdatePayloadRequest(collection="c", ids=search_pb2.PointIds(ids=["a", "none"]))
    request.set.update(change.get("set", {}))
    request.delete.extend(change.get("delete", []))
    request.overwrite = change.get("overwrite", False)
    told = await refused(served.client.points.UpdatePayload(request, metadata=shown(served.acme)))
    assert (told.field, told.reason) == (field, "TENANT_FIXED")


async def test_what_fields_hold_is_told_of_the_callers_own_points(served):
    await served.upsert(served.beta, point("b", {"size": "large"}, image=b"b"))
    await served.upsert(served.acme, point("a", {"size": 3}, image=b"a"))
    by_word = 'must_not { field { key: "size" match { keyword: "large" } } }'
    by_number = 'must_not { field { key: "size" match { integer: 3 } } }'
    for _ in range(2):  # also once it is remembered what the field holds
        assert await served.count(served.beta, by_word) == 0
        assert await served.count(served.acme, by_number) == 0
        for token, filter, holds in ((served.acme, by_word, "numbers"), (served.beta, by_number, "words")):
            told = await refused(served.count(token, filter))
            assert (told.reason, f"holds {holds}" in told.message) == ("FILTER_TYPE_MISMATCH", True)


async def test_what_is_chance_is_measured_from_the_points_of_all(served, encoder):
    for token in (served.acme, served.beta):
        await served.upsert(token, *(point(f"{n}.jpg", image=b"%d" % n) for n in range(8)))
    encoder.vectors = {b"1": unit(1), "one": unit(1)}
    await served.upsert(served.acme, point("1.jpg", image=b"1"))
    for one in (term(b"1"), term("one")):  # there are no words among the vectors
        asked = search_pb2.SearchRequest(
            collection="c", query=[one], target=search_pb2.TARGET_IMAGE, only_matches=True
        )
        hits = (await served.client.points.Search(asked, metadata=shown(served.acme))).hits
        assert (hits[0].id, {hit.payload["shop"] for hit in hits}) == ("1.jpg", {"acme"})


async def test_words_are_looked_up_for_no_tenant(served):
    made = collection_pb2.CreateCollectionRequest(name="words", bm25_field="title")
    await served.client.collections.CreateCollection(made, metadata=shown(served.operator))
    await served.upsert(served.acme, point("a", {"title": "shoes"}, image=b"a"), collection="words")
    for fields in ({"target": search_pb2.TARGET_WORDS}, {"hybrid": search_pb2.Hybrid()}):
        asked = search_pb2.SearchRequest(collection="words", query=[term("shoes")], **fields)
        told = await refused(served.client.points.Search(asked, metadata=shown(served.acme)))
        assert (told.code, told.reason) == ("PERMISSION_DENIED", "TENANT_FORBIDDEN")
        assert (await served.client.points.Search(asked, metadata=shown(served.operator))).hits


async def test_a_successor_gets_what_a_tenant_writes_and_keeps_what_others_have(served):
    await served.create("next")
    await served.upsert(served.operator, point("acme/a", {"shop": "beta"}, image=b"a"), collection="next")
    link = collection_pb2.SetSuccessorRequest(collection="c", successor="next")
    await served.client.collections.SetSuccessor(link, metadata=shown(served.operator))
    taken, written = await served.upsert(served.acme, point("a", image=b"a"), point("b", image=b"b"))
    assert refusal(taken.successor_status).reason == "POINT_EXISTS"
    assert not written.HasField("successor_status")
    assert await served.ids(served.acme, "next") == {"b"}
    assert await served.ids(served.beta, "next") == {"../acme/a"}
    gone = search_pb2.DeletePointsRequest(collection="c", ids=search_pb2.PointIds(ids=["a", "b"]))
    assert (await served.client.points.DeletePoints(gone, metadata=shown(served.acme))).deleted == 2
    assert await served.ids(served.operator, "next") == {"acme/a"}


async def test_a_folder_is_indexed_with_a_tenants_token(served, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for n in range(3):
        (folder / f"{n}.jpg").write_bytes(b"picture %d" % n)
    for token in (served.acme, served.beta):
        for indexed, already in ((3, 0), (0, 3)):
            async with AsyncClient(served.client.address, token=token) as client:
                report = await Ingest(client, "c", PictureFolder(folder)).run()
            assert (report.indexed, report.already, report.failed) == (indexed, already, 0)
    (folder / "0.jpg").unlink()
    async with AsyncClient(served.client.address, token=served.acme) as client:
        run = Ingest(client, "c", PictureFolder(folder))
        assert (await run.run()).gone == 1
        assert await run.prune() == 1
    assert [len(await served.ids(token)) for token in (served.acme, served.beta)] == [2, 3]


async def test_outside_of_calls_the_store_of_callers_is_closed(tmp_path):
    store = await QdrantEdge.open(tmp_path / "data")
    with pytest.raises(RuntimeError, match="no call"):
        await for_callers(store).list_collections()
    await store.close()
