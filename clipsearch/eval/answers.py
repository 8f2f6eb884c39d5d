"""Which points of a collection a file of queries means: by id, by an image's path, or by its file's name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from clipsearch.batches import batched
from clipsearch.client.aio import AsyncClient
from clipsearch.client.retrying import Retrying
from clipsearch.eval.queries import Asked, Query
from clipsearch.ingest import SourceError
from clipsearch.ingest.points import COPIES, strings
from clipsearch.ingest.source import absolute, path_text

_AT_ONCE = 256


async def find_answers(
    file: Path, asked: Sequence[Asked], client: AsyncClient, calls: Retrying, collection: str
) -> list[Query]:
    """The queries of a file with the ids of their right points.

    Raises SourceError for an answer that is no point.
    """
    named = list(dict.fromkeys(name for one in asked for name in one.answers))
    ids: set[str] = set()
    for some in batched(named, _AT_ONCE):
        there = await calls.make(partial(client.get_points, collection, some, payload=False))
        ids |= {point.id for point in there}
    folder = absolute(file).parent
    rest = [name for name in named if name not in ids]
    paths = {name: path_text(absolute(folder / name)) for name in rest}
    images = [path_text(one.image) for one in asked if one.image is not None]
    by_path: dict[str, list[str]] = {}
    for field in (COPIES, "path"):  # the path itself last: it counts where both know one
        by_path |= await _by_field(client, calls, collection, field, [*paths.values(), *images])
    nameless = [name for name in rest if paths[name] not in by_path]
    by_name = await _by_field(client, calls, collection, "name", nameless)
    queries = []
    for one in asked:
        relevant: dict[str, int] = {}
        for name, grade in one.answers.items():
            points = [name] if name in ids else by_path.get(paths[name]) or by_name.get(name, [])
            if len(points) != 1:
                raise SourceError(f"{file}, {one.place}: {_not_one(name, points, collection)}")
            if grade:
                relevant[points[0]] = grade
        itself = by_path.get(path_text(one.image), [""])[0] if one.image is not None else ""
        queries.append(Query(one.text, one.image, relevant, "" if itself in relevant else itself))
    return queries


def _not_one(name: str, points: Sequence[str], collection: str) -> str:
    if points:
        return (
            f"relevant: {len(points)} points of {collection!r} have an image called {name!r}; "
            f"name its path, or one of the ids {', '.join(points[:3])}"
        )
    return (
        f"relevant: {name!r} is neither the id of a point in {collection!r} nor the path or name of its image"
    )


async def _by_field(
    client: AsyncClient, calls: Retrying, collection: str, field: str, values: Iterable[str]
) -> dict[str, list[str]]:
    """The ids of the points that have one of the values in a payload field, by value."""
    found: dict[str, list[str]] = defaultdict(list)
    for some in batched(dict.fromkeys(values), _AT_ONCE):
        wanted = frozenset(some)
        matches: dict[str, Any] = {"must": [{"key": field, "match": {"any": some}}]}
        async for page in calls.pages(partial(client.list_page, collection, filter=matches, payload=[field])):
            for point in page.points:
                value = point.payload.get(field)
                for one in {value} if isinstance(value, str) else {*strings(value)}:
                    if one in wanted:
                        found[one].append(point.id)
    return dict(found)
