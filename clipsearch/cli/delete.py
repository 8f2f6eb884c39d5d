"""`clipsearch delete`: points, by id or by filter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.batches import batched
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
from clipsearch.display.text import counted

if TYPE_CHECKING:
    from clipsearch.client.types import StoredPoint

_IDS_A_CALL = 1000
_SHOWN = 10


def delete(
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Ids of the points.")] = None,
    filter: Filter = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go, and delete nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    collection: Collection = DEFAULT_COLLECTION,
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """Deletes points from a collection, by id or by filter. Images and lists stay as they are.

    What is still in a folder or list comes back when that is indexed again. Exit code 0 when
    everything named was there and is gone, 1 when an id is not there or nothing was deleted.

    Examples:

      clipsearch delete mug-1 mug-2 -c shop

      clipsearch delete --filter folder=/home/me/Pictures/old --dry-run

      clipsearch delete --filter 'price>1000' --filter 'added<2024-05' -c shop --yes
    """
    if bool(ids) == bool(filter):
        raise typer.BadParameter("give ids, or --filter")

    matching = conditions(filter)
    with connect(server, timeout=120.0) as client:
        if matching:
            count = client.count(collection, filter=matching)
            first = list(client.list_page(collection, filter=matching, page_size=_SHOWN).points)
            missing: list[str] = []
        else:
            unique = list(dict.fromkeys(ids or ()))
            there = [
                point
                for batch in batched(unique, _IDS_A_CALL)
                for point in client.get_points(collection, batch)
            ]
            known = {point.id for point in there}
            missing = [id for id in unique if id not in known]
            count, first = len(there), there[:_SHOWN]
        deleted = 0
        if count and not dry_run:
            if not yes:
                _show(first, count)
                question = f"Delete {counted(count, 'point')} of {collection!r}?"
                typer.confirm(question, abort=True, err=True)
            if matching:
                deleted = client.delete_points(collection, filter=matching)
            else:
                batches = batched([point.id for point in there], _IDS_A_CALL)
                deleted = sum(client.delete_points(collection, batch) for batch in batches)
    if json:
        print_json({"matching": count, "deleted": deleted, "missing": missing, "dry_run": dry_run})
    elif dry_run:
        _show(first, count)
        stderr().print(f"{counted(count, 'point')} would be deleted")
    else:
        stderr().print(
            f"{counted(deleted, 'point')} deleted" if count else "no point matches; nothing was deleted"
        )
    if missing and not json:
        named = [plain(id) for id in missing[:_SHOWN]] + ["..."] * (len(missing) > _SHOWN)
        stderr().print(f"not there: {', '.join(named)}")
    if missing or not (count or dry_run):
        raise typer.Exit(1)


def _show(points: Sequence[StoredPoint], count: int) -> None:
    rows = table("id", "payload")
    for point in points:
        rows.add_row(plain(point.id), plain(describe(point.payload)))
    if points:
        stdout().print(rows)
    if count > len(points):
        stdout().print(f"and {count - len(points):,} more")
