"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

Server = Annotated[
    str,
    typer.Option("--server", envvar="CLIPSEARCH_SERVER", metavar="HOST:PORT", help="The search service."),
]
Encoder = Annotated[
    str, typer.Option("--encoder", envvar="CLIPSEARCH_ENCODER", metavar="HOST:PORT", help="The encoder.")
]
Collection = Annotated[
    str, typer.Option("--collection", "-c", metavar="NAME", help="The collection, or an alias of one.")
]
Filter = Annotated[
    list[str] | None,
    typer.Option(
        metavar="EXPRESSION",
        help="Only points that match, such as 'price<20' or 'made<=2024-05-31'; may be given several times.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

DEFAULT_SERVER = "127.0.0.1:50052"
DEFAULT_ENCODER = "127.0.0.1:50051"
DEFAULT_COLLECTION = "images"


def conditions(filter: Sequence[str] | None) -> dict[str, Any] | None:
    """What `--filter` says, for the client. Days and times are those of this machine's time zone.

    Raises FilterError.
    """
    from clipsearch.filters.expressions import parse_expressions

    return parse_expressions(filter, zone=None) if filter else None
