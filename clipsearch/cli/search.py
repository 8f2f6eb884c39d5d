"""`clipsearch search`: by words, by an image, by stored points, or by several of these."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from clipsearch.cli.shared.access import connect
from clipsearch.cli.shared.options import (
    DEFAULT_COLLECTION,
    DEFAULT_SERVER,
    Collection,
    Filter,
    Json,
    Server,
    conditions,
)
from clipsearch.cli.shared.output import describe, plain, print_json, stderr, stdout, table

if TYPE_CHECKING:
    from rich.table import Table

    from clipsearch.client.inputs import Boost, SearchOptions
    from clipsearch.client.types import GroupedResult, Hit, SearchResult


def search(
    words: Annotated[str | None, typer.Argument(help="What to look for.")] = None,
    image: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="An image to look for."),
    ] = None,
    like: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="A stored point to look for; repeatable.")
    ] = None,
    unlike: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="A stored point to avoid; repeatable.")
    ] = None,
    strategy: Annotated[
        Literal["average_vector", "best_score", "sum_scores"],
        typer.Option(help="Look for all as one vector, or take each as an example."),
    ] = "average_vector",
    boost: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND:FIELD:SCALE",
            help="Raise scores: newer:FIELD:SECONDS, popular:FIELD:NUMBER or nearer:FIELD:LAT,LON,METRES; "
            "a fourth part is the weight. Repeatable.",
        ),
    ] = None,
    diversity: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Find hits that differ from one another; needs --target."),
    ] = None,
    target: Annotated[
        Literal["any", "image", "text", "words"],
        typer.Option(help="Which vectors to compare with; words: look the words up instead."),
    ] = "any",
    hybrid: Annotated[
        bool, typer.Option("--hybrid", help="Look the words up too, in the collection's BM25 field.")
    ] = False,
    only_matches: Annotated[
        bool, typer.Option("--only-matches", help="Leave out what is no better than chance, all if need be.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Hits wanted.")] = 10,
    group_by: Annotated[
        str | None,
        typer.Option(metavar="FIELD", help="Group the hits by a payload field; --limit then counts groups."),
    ] = None,
    group_size: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Hits a group.", show_default="3")
    ] = None,
    filter: Filter = None,
    collection: Collection = DEFAULT_COLLECTION,
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """Finds images and texts by words, by an image, by stored points, or by several of these.

    Examples:

      clipsearch search "a cat"

      clipsearch search --image cat.jpg --limit 5

      clipsearch search "on a sofa" --image cat.jpg --target image

      clipsearch search "a cat" --filter 'modified>=2024-05' --filter folder=/home/me/Pictures

      clipsearch search "a mug" --filter 'brand=acme|zeta' --filter '"unit price"<5' --filter 'sku!="0042"'

      clipsearch search "a mug" --like mug-1 --unlike mug-7 -c shop

      clipsearch search "a mug" --boost newer:made:2592000 --boost popular:sold:100:0.5 -c shop

      clipsearch search "a mug" -c shop --group-by brand --group-size 2

      clipsearch search "a mug" --filter 'place@56.95,24.1,5km' --filter 'shops\\[city=Riga]\\[open=true]'

      clipsearch search "a giraffe" --only-matches

      clipsearch search "kitchen knife KX-4711" --hybrid --collection goods

      clipsearch search "a cat" --json | jq -r '.hits[].payload.path'

    A filter is FIELD, one of = != < <= > >= ~ ~~ @, and a value; | separates alternatives, ~ asks for words,
    ~~ for a phrase, @ for places within a circle or a box, #FIELD for how many values there are. Quotes make
    a word of a number, and hold together a field's name. A day (or year, or month) is the whole of it, in
    this machine's time zone. All filters must hold.
    """
    if not words and image is None and not like:
        raise typer.BadParameter("give words, --image, --like, or several of them")
    if group_size is not None and group_by is None:
        raise typer.BadParameter("--group-size is of --group-by; give that too")
    from clipsearch.client.inputs import Term

    options: SearchOptions = {
        "target": target,
        "hybrid": hybrid,
        "only_matches": only_matches,
        "limit": limit,
        "filter": conditions(filter),
        "strategy": strategy,
        "diversity": diversity,
        "boosts": [_boost(text) for text in boost or ()],
        "query": [
            *(Term(point_id=id) for id in like or ()),
            *(Term(point_id=id, weight=-1) for id in unlike or ()),
        ],
    }
    if image is not None:
        options["image"] = image
    with connect(server) as client:
        if group_by is not None:
            groups = client.search_groups(
                collection, words or None, group_by=group_by, group_size=group_size or 3, **options
            )
            result = groups.search
        else:
            groups = None
            result = client.search(collection, words or None, **options)
    if json:
        print_json(as_json(collection, result, groups))
        return
    for position, dropped in result.tokens_dropped.items():
        stderr().print(f"note: term {position + 1} was too long for the model; {dropped} tokens were cut off")
    console = stdout()
    hits = result.hits if groups is None else [hit for group in groups for hit in group.hits]
    if not hits:
        console.print("nothing found")
        return
    if groups is None:
        console.print(hits_table(result, result.hits))
    else:
        for group in groups:
            console.print(hits_table(result, group.hits, plain(f"{group_by}: {group.value}")))
    if result.fusion == "calibrated":
        console.print("[dim]score: how far above the best that unrelated queries find, in its spreads[/dim]")
    if any(hit.weak for hit in hits):
        if result.fusion == "calibrated":
            console.print("[dim]weak: below 0, no better than unrelated queries find[/dim]")
        else:
            bound = result.weak_match_below
            console.print(f"[dim]weak: below {bound:.2f}, where this model's matches are mostly chance[/dim]")


def _boost(text: str) -> Boost:
    from clipsearch.client.inputs import Nearer, Newer, Popular

    try:
        kind, field, scale, *weights = text.split(":")
        weight = float(*weights or (1,))
        match kind:
            case "newer":
                return Newer(field, float(scale), weight=weight)
            case "popular":
                return Popular(field, float(scale), weight=weight)
            case "nearer":
                lat, lon, metres = map(float, scale.split(","))
                return Nearer(field, lat, lon, metres, weight=weight)
    except (ValueError, TypeError):
        pass
    raise typer.BadParameter(
        f"{text!r} is none of newer:FIELD:SECONDS, popular:FIELD:NUMBER and nearer:FIELD:LAT,LON,METRES",
        param_hint="--boost",
    )


def hits_table(result: SearchResult, found: Sequence[Hit], title: str | None = None) -> Table:
    """Score, id and path of each of a result's hits, and what matched where that may differ."""
    several = result.fused or any(hit.matched == "words" for hit in found)
    hits = table("#>", "score>", "", *["matched"] * several, "id", "path", title=title)
    for rank, hit in enumerate(found, start=1):
        hits.add_row(
            str(rank),
            f"{hit.score:.3f}",
            "weak" if hit.weak else "",
            *[hit.matched] * several,
            plain(hit.id),
            plain(describe(hit.payload)),
            style="dim" if hit.weak else None,
        )
    return hits


def as_json(collection: str, result: SearchResult, groups: GroupedResult | None = None) -> dict[str, Any]:
    """A search's answer for scripts."""
    answer = {"collection": collection, "fused": result.fused, "fingerprint": result.fingerprint}
    if groups is None:
        return {**answer, "hits": [_hit(hit) for hit in result]}
    shown = [{"value": group.value, "hits": [_hit(hit) for hit in group.hits]} for group in groups]
    return {**answer, "groups": shown}


def _hit(hit: Hit) -> dict[str, Any]:
    return {
        "id": hit.id,
        "score": round(hit.score, 6),
        "cosine": round(hit.cosine, 6),
        "matched": hit.matched,
        "weak": hit.weak,
        **({"words_rank": hit.words_rank, "words_score": hit.words_score} if hit.words_rank else {}),
        "payload": dict(hit.payload),
    }
