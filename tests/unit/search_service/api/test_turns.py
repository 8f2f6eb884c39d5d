"""Large answers are written with other calls in between."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from clipsearch.search.v1 import search_pb2
from search_service import turns
from search_service.api import point_proto, search_proto
from tests.unit.search_service.served import Client, request, term, unit

POINTS = 10
SEARCH = request(term(unit(1)), limit=POINTS)


@pytest.fixture
async def ways(client: Client) -> dict[str, Callable[[], Awaitable[object]]]:
    """The calls that answer with all points, by name."""
    await client.create()
    await client.upsert(
        *({"id": f"p{i}", "image_vector": unit(1, i), "payload": {"n": i}} for i in range(POINTS))
    )
    ids = [f"p{i}" for i in range(POINTS)]
    grouped = search_pb2.SearchGroupsRequest(search=SEARCH, group_by="n", group_size=1)
    return {
        "get": lambda: client.points.GetPoints(search_pb2.GetPointsRequest(collection="c", ids=ids)),
        "list": lambda: client.points.ListPoints(search_pb2.ListPointsRequest(collection="c")),
        "search": lambda: client.points.Search(SEARCH),
        "batch": lambda: client.points.SearchBatch(search_pb2.SearchBatchRequest(searches=[SEARCH])),
        "groups": lambda: client.points.SearchGroups(grouped),
    }


@pytest.mark.parametrize("way", ["get", "list", "search", "batch", "groups"])
async def test_others_get_a_turn_while_points_are_written(ways, way, monkeypatch):
    written, seen, write = [], set[int](), point_proto.write_payload

    def counted(payload):
        written.append(payload)
        return write(payload)

    async def watch() -> None:
        while True:
            seen.add(len(written))
            await asyncio.sleep(0)

    monkeypatch.setattr(turns, "_TURN_S", 0)
    for module in (point_proto, search_proto):
        monkeypatch.setattr(module, "write_payload", counted)
    watching = asyncio.create_task(watch())
    await ways[way]()
    watching.cancel()
    assert seen == set(range(POINTS + 1))
