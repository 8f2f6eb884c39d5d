"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

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
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

DEFAULT_SERVER = "127.0.0.1:50052"
DEFAULT_ENCODER = "127.0.0.1:50051"
DEFAULT_COLLECTION = "images"
