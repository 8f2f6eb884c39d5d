"""`clipsearch collections index`: payload indexes, as the command line writes them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from clipsearch.cli.shared.access import connect
from clipsearch.cli.shared.options import DEFAULT_SERVER, Server, by_name
from clipsearch.cli.shared.output import plain, stderr

if TYPE_CHECKING:
    from clipsearch.client.inputs import PayloadIndex


def index(
    collection: Annotated[str, typer.Argument(help="Collection or alias.")],
    add: Annotated[list[str] | None, typer.Argument(metavar="FIELD=TYPE...", help="Indexes to add.")] = None,
    remove: Annotated[
        list[str] | None, typer.Option(metavar="FIELD", help="An index to remove. Repeatable.")
    ] = None,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Adds payload indexes to a collection, or removes some first; filters on their fields are fast.

    TYPE is keyword, integer, float, bool, datetime, text, geo, or tenant for keywords that tell tenants
    apart. After text come its options: tokenizer (word, whitespace, prefix), lowercase, min_token_len,
    max_token_len, stemmer (english, ...), stopword_languages, stopwords (several with +), phrase_matching.

    Exit code 0 when all is as it was asked for, 1 when a field had no index to remove and gets none. To
    remove one, the token needs to search, too.

    Examples:

      clipsearch collections index shop brand=keyword place=geo

      clipsearch collections index shop title=text,phrase_matching=true,stemmer=english

      clipsearch collections index shop --remove title title=text,tokenizer=prefix
    """
    indexes = read_indexes(add or [], "FIELD=TYPE")
    if not indexes and not remove:
        raise typer.BadParameter("give FIELD=TYPE, or --remove")
    with connect(server) as client:
        there = client.get_collection(collection).payload_indexes if remove else {}
        missing = set[str]()
        for field in dict.fromkeys(remove or ()):
            client.delete_payload_index(collection, field)
            if field in there:
                stderr().print(f"{plain(field)} has no index now")
            else:
                missing.add(field)
                stderr().print(f"{plain(field)} had no index")
        for field, made in indexes.items():
            client.create_payload_index(collection, field, made)
            stderr().print(f"{plain(field)} has an index now: {plain(written(made))}")
    if missing - indexes.keys():
        raise typer.Exit(1)


def read_indexes(declared: Sequence[str], option: str) -> dict[str, PayloadIndex]:
    """Indexes by field. Raises BadParameter of `option`."""
    from clipsearch.client.inputs import IndexType

    types = get_args(IndexType)

    def read(declaration: str) -> tuple[str, Any]:
        name, *options = declaration.split(",")
        field, _, type = name.rpartition("=")
        if not field or type not in types or (options and type != "text"):
            raise typer.BadParameter(
                f"{declaration!r} is not FIELD=TYPE; TYPE is one of {', '.join(types)}; "
                "text may have options, such as note=text,phrase_matching=true",
                param_hint=option,
            )
        return field, _text_index(declaration, options, option) if options else type

    return by_name(map(read, declared), option)


def written(index: PayloadIndex) -> str:
    """An index as it is declared, without its field."""
    if isinstance(index, str):
        return index
    options = {
        field.name: value
        for field in dataclasses.fields(index)
        if (value := getattr(index, field.name)) != field.default
    }
    said = {
        name: "+".join(value) if isinstance(value, tuple) else str(value).lower()
        for name, value in options.items()
    }
    return ",".join(["text", *(f"{name}={value}" for name, value in said.items())])


def _text_index(declaration: str, options: Sequence[str], hint: str) -> PayloadIndex:
    from clipsearch.client.inputs import TextIndex

    kinds = {field.name: type(field.default) for field in dataclasses.fields(TextIndex)}
    read: dict[str, Any] = {}
    for option in options:
        name, _, value = option.partition("=")
        try:
            read[name] = _READ[kinds[name]](value)
        except (KeyError, ValueError):
            raise typer.BadParameter(
                f"{declaration!r}: {option!r} is no option with a value; there are {', '.join(kinds)}",
                param_hint=hint,
            ) from None
    return TextIndex(**read)


_READ: dict[type, Any] = {
    bool: lambda value: {"true": True, "false": False}[value.lower()],
    int: int,
    str: str,
    tuple: lambda value: tuple(value.split("+")),
}
