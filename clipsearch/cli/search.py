"""`clipsearch search`: by words, by a picture, or by both."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from clipsearch.cli.access import access
from clipsearch.cli.options import (
    DEFAULT_COLLECTION,
    DEFAULT_ENCODER,
    DEFAULT_SERVER,
    Collection,
    Encoder,
    Json,
    Server,
)
from clipsearch.cli.output import describe, plain, print_json, stderr, stdout, table
from clipsearch.weak import is_weak, weak_bound

if TYPE_CHECKING:
    from rich.table import Table

    from clipsearch.inputs import SearchOptions
    from clipsearch.results import SearchResult

_EXAMPLES = """
Examples:

  clipsearch search "a cat"

  clipsearch search --image cat.jpg --limit 5

  clipsearch search "on a sofa" --image cat.jpg --target image

  clipsearch search "a cat" --filter 'modified>=2024-01-01' --filter folder=/home/me/Pictures

  clipsearch search "a cat" --json | jq -r '.hits[].payload.path'

A filter is FIELD, one of = != < <= > >= ~, and a value; | separates alternatives, ~ asks for words.
"""


def search(
    words: Annotated[str | None, typer.Argument(help="What to look for.", show_default=False)] = None,
    image: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, readable=True, help="A picture to look for."),
    ] = None,
    target: Annotated[
        Literal["any", "image", "text"], typer.Option(help="Which vectors to compare with.")
    ] = "any",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Hits wanted.")] = 10,
    filter: Annotated[
        list[str] | None,
        typer.Option(metavar="EXPRESSION", help="Only points that match; may be given several times."),
    ] = None,
    collection: Collection = DEFAULT_COLLECTION,
    server: Server = DEFAULT_SERVER,
    encoder: Encoder = DEFAULT_ENCODER,
    json: Json = False,
) -> None:
    """Finds pictures and texts by words, by a picture, or by both."""
    if not words and image is None:
        raise typer.BadParameter("give words, --image, or both")
    from clipsearch.client import Client

    options: SearchOptions = {"target": target, "limit": limit, "filter": filter}
    if image is not None:
        options["image"] = image
    with Client(server, **access()) as client:
        result = client.search(collection, words or None, **options)
    bound = known_weak_bound(encoder, result) if image is None else 0.0
    if json:
        print_json(as_json(collection, result, bound))
        return
    for position, dropped in result.tokens_dropped.items():
        stderr().print(f"note: term {position + 1} was too long for the model; {dropped} tokens were cut off")
    console = stdout()
    if not result:
        console.print("nothing found")
        return
    console.print(hits_table(result, bound))
    if any(is_weak(hit, bound) for hit in result):
        console.print(f"[dim]weak: below {bound:.2f}, where this model's matches are mostly chance[/dim]")


search.__doc__ = f"{search.__doc__}\n{_EXAMPLES}"


def known_weak_bound(encoder: str, result: SearchResult) -> float:
    """The bound of weak matches; 0 where the encoder cannot be asked, which fails no search."""
    from clipsearch.client import EncoderClient
    from clipsearch.errors import ClipSearchError

    try:
        with EncoderClient(encoder, timeout=2.0, **access()) as client:
            return weak_bound(client.model(), result)
    except ClipSearchError:
        return 0.0


def hits_table(result: SearchResult, bound: float, title: str | None = None) -> Table:
    """Score, id and path of each hit; fused hits also show the side that matched."""
    sides = ("matched",) if result.fused else ()
    hits = table("#>", "score>", "", *sides, "id", "path", title=title)
    for rank, hit in enumerate(result, start=1):
        weak = is_weak(hit, bound)
        side = (hit.matched,) if result.fused else ()
        hits.add_row(
            str(rank),
            f"{hit.score:.3f}",
            "weak" if weak else "",
            *side,
            plain(hit.id),
            plain(describe(hit.payload)),
            style="dim" if weak else None,
        )
    return hits


def as_json(collection: str, result: SearchResult, bound: float) -> dict[str, Any]:
    """A search's answer for scripts."""
    return {
        "collection": collection,
        "fused": result.fused,
        "fingerprint": result.fingerprint,
        "hits": [
            {
                "id": hit.id,
                "score": round(hit.score, 6),
                "cosine": round(hit.cosine, 6),
                "matched": hit.matched,
                "weak": is_weak(hit, bound),
                "payload": dict(hit.payload),
            }
            for hit in result
        ],
    }
