"""`clipsearch update`: payloads and vectors of points, by id or by filter."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    by_name,
    conditions,
    json_values,
)
from clipsearch.cli.shared.output import print_json, stderr

if TYPE_CHECKING:
    from clipsearch.client.sync import Client

_IDS_A_CALL = 1000


def update(
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Ids of the points.")] = None,
    set: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=VALUE", help="Give a field at the top a value (JSON, or else a text); repeatable."
        ),
    ] = None,
    unset: Annotated[
        list[str] | None, typer.Option(metavar="FIELD", help="Remove a field; repeatable.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Remove all fields that are not set here.")
    ] = False,
    image: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="A new image of one point."),
    ] = None,
    text: Annotated[str | None, typer.Option(help="New words of one point.")] = None,
    remove_vector: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Remove a vector, image or text; repeatable.")
    ] = None,
    filter: Filter = None,
    collection: Collection = DEFAULT_COLLECTION,
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """Changes payloads of points, or single vectors, by id or by filter. What is not named here stays.

    A row of a list whose vectors were changed is written again when that list is indexed the next time.

    Exit code 0 when everything named was there, 1 when an id is not or nothing matches.

    Examples:

      clipsearch update mug-1 mug-2 --set price=12.5 --set 'tags=["new"]' -c shop

      clipsearch update --filter 'price>100' --set dear=true --unset offer -c shop

      clipsearch update mug-1 --image mug.jpg --text "a blue mug" -c shop

      clipsearch update mug-1 mug-2 --remove-vector text -c shop
    """
    if bool(ids) == bool(filter):
        raise typer.BadParameter("give ids, or --filter")
    vectors = image is not None or text is not None
    if vectors and len(ids or ()) != 1:
        raise typer.BadParameter("--image and --text are for one id")
    changes = bool(set or unset or overwrite)
    if sum((changes, vectors, bool(remove_vector))) != 1:
        raise typer.BadParameter("give --set and --unset, or --image and --text, or --remove-vector")
    if overwrite and (unset or not set):
        raise typer.BadParameter("give --overwrite with --set alone")
    given = json_values(set, "--set", "FIELD=VALUE")
    fields = by_name(((_top_level(field), value) for field, value in given.items()), "--set")
    from clipsearch.client.inputs import Point

    matching = conditions(filter)
    unique = list(dict.fromkeys(ids or ()))
    updated = 0
    with connect(server, timeout=120.0) as client:
        if vectors:
            (result,) = client.update_vectors(collection, [Point(unique[0], image=image, text=text)])
            if result.error is not None and result.error.reason != "POINT_NOT_FOUND":
                raise result.error
            updated = int(result.error is None)
            if updated:
                _differ_from_lists(client, collection, {"must": [{"has_id": unique}]})
        for batch in [] if vectors else [None] if matching else batched(unique, _IDS_A_CALL):
            if remove_vector:
                # First: the filter may ask for the vector.
                _differ_from_lists(client, collection, matching or {"must": [{"has_id": batch}]})
                updated += client.delete_vectors(collection, batch, filter=matching, vectors=remove_vector)
                continue
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


def _top_level(path: str) -> str:
    """The name of the field that a path means, as in --unset and in filters. Raises BadParameter."""
    from clipsearch.filters.paths import keys

    name, *inside = keys(path)
    if inside:
        raise typer.BadParameter(
            f"{path!r} leads into {name!r}, and only fields at the top are set: give all of {name!r}, "
            f"as JSON, or quote a name that has dots or brackets in it ('\"{path}\"=...')",
            param_hint="--set",
        )
    return str(name)


def _differ_from_lists(client: Client, collection: str, named: Mapping[str, Any]) -> None:
    """Lets rows of lists that match no longer pass for what their lists say: indexing compares a hash."""
    from clipsearch.client.types import CONTENT_HASH, INDEXED_FROM, SPOILT

    of_lists = {**named, "must_not": [*named.get("must_not", ()), {"is_empty": INDEXED_FROM}]}
    client.update_payload(collection, filter=of_lists, set={CONTENT_HASH: SPOILT})
