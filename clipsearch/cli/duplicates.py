"""`clipsearch duplicates`: groups of near-equal images or texts of a collection."""

from __future__ import annotations

import asyncio
import json as json_text
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from clipsearch.cli.shared.access import connect_async
from clipsearch.cli.shared.options import DEFAULT_SERVER, NamedCollection, Server
from clipsearch.cli.shared.output import describe, plain, progress, stderr, stdout, table
from clipsearch.display.text import counted

if TYPE_CHECKING:
    from clipsearch.duplicates.groups import Member

_SHOWN = 50


def duplicates(
    collection: NamedCollection,
    above: Annotated[
        float, typer.Option(min=0.0, max=1.0, metavar="COSINE", help="From which on two points are near.")
    ] = 0.95,
    target: Annotated[Literal["image", "text"], typer.Option(help="Which vectors to compare.")] = "image",
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", dir_okay=False, help="Write a page with images."),
    ] = None,
    server: Server = DEFAULT_SERVER,
    json: Annotated[bool, typer.Option("--json", help="Print a line of JSON a group.")] = False,
    ids: Annotated[
        bool,
        typer.Option("--ids", help="Print only the ids of points that are near to the first of their group."),
    ] = False,
) -> None:
    """Finds groups of near-equal images, or texts, in a collection. Deletes nothing.

    All points are compared with all, without an index. Two are near where the cosine of their vectors
    is at least --above; a group is what such pairs connect, so some of its points may be less near.
    Its first point is the one that is near to the most, and each tells its cosine to that.

    Examples:

      clipsearch duplicates images --html duplicates.html

      clipsearch duplicates shop --above 0.98 --json > groups.jsonl

      clipsearch duplicates shop --above 0.99 --ids | xargs -r -d '\\n' clipsearch delete -c shop --yes --
    """
    if json and ids:
        raise typer.BadParameter("give --json or --ids")
    from clipsearch.duplicates.groups import duplicates as find
    from clipsearch.duplicates.page import MOST_GROUPS, write_page

    first: list[list[Member]] = []
    groups = points = compared = broken = 0
    more = ""

    def read(count: int) -> None:
        nonlocal compared
        compared = count

    async def run() -> None:
        nonlocal groups, points, broken
        async with connect_async(server) as client:
            async for group in find(client, collection, target, above, bar, read):
                if groups < MOST_GROUPS:
                    first.append(group)
                groups, points = groups + 1, points + len(group)
                if ids:
                    near = [member.id for member in group[1:] if member.cosine >= above]
                    for id in near:
                        if "\n" in id:  # it would be read as two
                            broken += 1
                        else:
                            print(id)
                elif json:
                    members = [{"id": m.id, "cosine": m.cosine, "payload": m.payload} for m in group]
                    line = {"group": groups, "size": len(group), "points": members}
                    print(json_text.dumps(line), flush=True)

    with progress() as bar:
        asyncio.run(run())
    if html is not None:
        write_page(collection, above, first, groups - len(first), html)
        stderr().print(f"page: {plain(html.resolve().as_uri())}", soft_wrap=True)
    if first and not (json or ids):
        rows = table("points>", "least cosine>", "first", "second")
        for group in first[:_SHOWN]:
            named = (plain(describe(member.payload) or member.id) for member in group[:2])
            rows.add_row(f"{len(group):,}", f"{min(member.cosine for member in group):.3f}", *named)
        stdout().print(rows)
        if groups > _SHOWN:
            more = f"; the table has the largest {_SHOWN}, --json all"
    if not compared:
        other = "text" if target == "image" else "image"
        stderr().print(f"no point has a vector of its {target}; --target {other} compares {other}s")
        return
    found = f"{counted(groups, 'group')} of {counted(points, 'point')} in all, of {compared:,} compared"
    stderr().print(f"{found}, with a cosine of at least {above:g}{more}")
    if broken:
        stderr().print(f"{counted(broken, 'id')} left out, being more than a line each; --json has all")
        raise typer.Exit(1)
