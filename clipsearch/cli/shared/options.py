"""Options that several commands share."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

Value = TypeVar("Value")

Server = Annotated[
    str,
    typer.Option(envvar="CLIPSEARCH_SERVER", metavar="HOST:PORT", help="The search service."),
]
Encoder = Annotated[str, typer.Option(envvar="CLIPSEARCH_ENCODER", metavar="HOST:PORT", help="The encoder.")]
Collection = Annotated[
    str, typer.Option("--collection", "-c", metavar="NAME", help="The collection, or an alias of one.")
]
NamedCollection = Annotated[
    str, typer.Argument(metavar="COLLECTION", help="The collection, or an alias of it.")
]
Filter = Annotated[
    list[str] | None,
    typer.Option(
        metavar="EXPRESSION",
        help="Only points that match, such as 'price<20' or 'made<=2024-05-31'; may be given several times.",
    ),
]
Host = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 = any free one.")]
PortFile = Annotated[Path | None, typer.Option(help="File to write host:port into once it is serving.")]
TlsCertificate = Annotated[
    Path | None, typer.Option(exists=True, dir_okay=False, help="PEM file of the certificate chain.")
]
TlsKey = Annotated[
    Path | None, typer.Option(exists=True, dir_okay=False, help="PEM file of the private key.")
]
Insecure = Annotated[bool, typer.Option("--insecure", help="Listen beyond this machine without TLS.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

DEFAULT_SERVER = "127.0.0.1:50052"
DEFAULT_ENCODER = "127.0.0.1:50051"
DEFAULT_COLLECTION = "images"


def a_path(text: str) -> Path:
    """A path as it was typed; an empty one would be the current folder. Raises BadParameter."""
    if not text:
        raise typer.BadParameter("the path is empty; write . for the current folder")
    return Path(text)


def conditions(filter: Sequence[str] | None) -> dict[str, Any] | None:
    """What `--filter` says, for the client. Days and times are those of this machine's time zone.

    Raises FilterError.
    """
    from clipsearch.filters.expressions import parse_expressions

    return parse_expressions(filter, zone=None) if filter else None


def words(listed: str) -> list[str]:
    """Words with commas between them, each once."""
    return list(dict.fromkeys(word for one in listed.split(",") if (word := one.strip())))


def choices(option: str, listed: str, known: Sequence[Any]) -> list[Any]:
    """Words with commas between them. Raises BadParameter for one that is not known."""
    chosen = words(listed)
    if unknown := [word for word in chosen if word not in known]:
        raise typer.BadParameter(f"{', '.join(unknown)}: there are {', '.join(known)}", param_hint=option)
    return chosen


def by_name(pairs: Iterable[tuple[str, Value]], option: str) -> dict[str, Value]:
    """What an option that may be repeated says of each name. Raises BadParameter for one that comes twice."""
    said: dict[str, Value] = {}
    for name, value in pairs:
        if name in said:
            raise typer.BadParameter(f"{name!r} is given twice", param_hint=option)
        said[name] = value
    return said


def json_values(given: Sequence[str] | None, option: str, form: str = "NAME=VALUE") -> dict[str, Any]:
    """Numbers, true and false are read as JSON, anything else is a word. Raises BadParameter."""

    def read(text: str) -> tuple[str, Any]:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise typer.BadParameter(f"{text!r} is not {form}", param_hint=option)
        try:
            return name, json.loads(value)
        except ValueError:
            return name, value

    return by_name(map(read, given or ()), option)
