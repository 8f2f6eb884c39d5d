"""`clipsearch update`: payloads of points, by id or by filter."""

from __future__ import annotations

import json as json_module
from typing import Annotated, Any

import typer

from clipsearch.channel.batches import batched
from clipsearch.cli.access import access
from clipsearch.cli.options import (
    DEFAULT_COLLECTION,
    DEFAULT_SERVER,
    Collection,
    Filter,
    Json,
    Server,
    conditions,
)
from clipsearch.cli.output import print_json, stderr

_TIMEOUT_S = 120.0
_IDS_A_CALL = 1000


def update(
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Ids of the points.")] = None,
    set: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=VALUE", help="Give a field a value (JSON, or else a text); repeatable."),
    ] = None,
    unset: Annotated[
        list[str] | None, typer.Option(metavar="FIELD", help="Remove a field; repeatable.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Remove all fields that are not set here.")
    ] = False,
    filter: Filter = None,
    collection: Collection = DEFAULT_COLLECTION,
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """Changes payloads of points, by id or by filter. Vectors stay, and nothing is encoded.

    Exit code 0 when everything named was there, 1 when an id is not or nothing matches.

    Examples:

      clipsearch update mug-1 mug-2 --set price=12.5 --set 'tags=["new"]' -c shop

      clipsearch update --filter 'price>100' --set dear=true --unset offer -c shop
    """
    if bool(ids) == bool(filter):
        raise typer.BadParameter("give ids, or --filter")
    if not (set or unset) or (overwrite and (unset or not set)):
        raise typer.BadParameter("give --set and --unset, or --overwrite with --set alone")
    fields = dict(_field(text) for text in set or ())
    from clipsearch.client.sync import Client

    matching = conditions(filter)
    unique = list(dict.fromkeys(ids or ()))
    updated = 0
    with Client(server, timeout=_TIMEOUT_S, **access()) as client:
        for batch in [None] if matching else batched(unique, _IDS_A_CALL):
            updated += client.update_payload(
                collection, batch, filter=matching, set=fields, delete=unset or (), overwrite=overwrite
            )
    missing = len(unique) - updated if ids else 0
    if json:
        print_json({"updated": updated, "missing": missing})
    else:
        text = f"{updated:,} updated" if updated or ids else "no point matches; nothing was changed"
        stderr().print(text + (f", {missing:,} not there" if missing else ""))
    if missing or not updated:
        raise typer.Exit(1)


def _field(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise typer.BadParameter(f"{text!r} is not FIELD=VALUE", param_hint="--set")
    try:
        return name, json_module.loads(value)
    except json_module.JSONDecodeError:
        return name, value
