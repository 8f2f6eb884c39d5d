"""`clipsearch facet`: which values a payload field has, and how often."""

from __future__ import annotations

from typing import Annotated

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
from clipsearch.cli.shared.output import plain, print_json, stdout, table


def facet(
    field: Annotated[str, typer.Argument(help="The payload field.")],
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Values wanted.")] = 10,
    exact: Annotated[bool, typer.Option("--exact", help="Count exactly, at a higher cost.")] = False,
    filter: Filter = None,
    collection: Collection = DEFAULT_COLLECTION,
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """Counts the points of each value of a payload field, the most frequent value first.

    The field needs a payload index of type keyword, integer or bool.

    Examples:

      clipsearch facet brand -c shop --filter 'price<20'
    """
    with connect(server) as client:
        hits = client.facet(collection, field, filter=conditions(filter), limit=limit, exact=exact)
    if json:
        print_json([{"value": hit.value, "count": hit.count} for hit in hits])
        return
    if not hits:
        stdout().print("no point has a value")
        return
    values = table("value", "points>")
    for hit in hits:
        value = str(hit.value).lower() if isinstance(hit.value, bool) else str(hit.value)
        values.add_row(plain(value), f"{hit.count:,}")
    stdout().print(values)
