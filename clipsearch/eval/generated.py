"""Queries made of what a collection holds, where nobody has written any: captions, or names of folders."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path, PurePath
from typing import Any

from clipsearch.client.aio import AsyncClient
from clipsearch.client.retrying import Retrying
from clipsearch.eval.queries import LEAST, Query
from clipsearch.ingest import SourceError

MOST = 1000
"""Queries made of captions: those of points in the order of their hashed ids, which is an even sample."""
_CAPTIONS = ("caption", "title", "text")
_READ = ["path", "folder", *_CAPTIONS]


async def of_captions(client: AsyncClient, calls: Retrying, collection: str) -> list[Query]:
    """Each caption of an image asks for its image; images with one caption are right for each other's.

    A caption is the first line of NAME.txt beside NAME.jpg, or the payload's caption, title or text.
    Raises SourceError if there are none.
    """
    too_few = (
        "{} captions, {} are needed: the first line of NAME.txt beside NAME.jpg, or a payload field "
        f"{', '.join(_CAPTIONS[:-1])} or {_CAPTIONS[-1]}"
    )
    return await _queries(client, calls, collection, caption, too_few)


async def of_folders(client: AsyncClient, calls: Retrying, collection: str) -> list[Query]:
    """The name of each folder asks for the images in it; raises SourceError if there is only one."""
    too_few = "images of {} folders, {} are needed: a folder's name says what is in it"
    return await _queries(client, calls, collection, _folder, too_few)


def caption(payload: Mapping[str, Any]) -> str:
    """What a point's image is said to show; "" = nothing."""
    path = payload.get("path")
    if isinstance(path, str) and (words := beside(Path(path))):
        return words
    said = (payload.get(field) for field in _CAPTIONS)
    return next((one.strip() for one in said if isinstance(one, str) and one.strip()), "")


def beside(image: Path) -> str:
    """The first line of the text file beside an image, NAME.txt beside NAME.jpg; "" = there is none."""
    try:
        with image.with_suffix(".txt").open(encoding="utf-8", errors="replace") as file:
            return file.readline().strip()
    except (OSError, ValueError):  # ValueError: the payload's text cannot be a path
        return ""


def _folder(payload: Mapping[str, Any]) -> str:
    path, folder = payload.get("path"), payload.get("folder")
    if not isinstance(folder, str):
        folder = str(PurePath(path).parent) if isinstance(path, str) else ""
    return " ".join(PurePath(folder).name.replace("_", " ").replace("-", " ").split())


async def _queries(
    client: AsyncClient,
    calls: Retrying,
    collection: str,
    words_of: Callable[[Mapping[str, Any]], str],
    too_few: str,
) -> list[Query]:
    """What the payloads of points with an image have for words, each asking for its points."""
    shown: dict[str, list[str]] = defaultdict(list)
    async for page in calls.pages(partial(client.list_page, collection, payload=_READ)):
        for point in page.points:
            if point.has_image and (words := words_of(point.payload)):
                shown[words].append(point.id)
    if len(shown) < LEAST:
        raise SourceError(f"collection {collection!r}: {too_few.format(len(shown), LEAST)}")
    return [Query(words, None, dict.fromkeys(ids, 1)) for words, ids in list(shown.items())[:MOST]]
