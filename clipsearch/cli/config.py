"""`clipsearch config`: the settings that a service would run with, secrets masked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from clipsearch.cli.shared.output import print_json

if TYPE_CHECKING:
    from clipsearch.serving.settings import ServingSettings


def config(
    service: Annotated[Literal["encoder", "search"], typer.Argument(help="Which service.")],
    table: Annotated[
        bool, typer.Option("--table", help="Print what can be set as a Markdown table: default and meaning.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of NAME=value lines.")] = False,
) -> None:
    """Prints the effective settings as NAME=value lines, as a settings file takes them.

    Secrets are masked. A variable that is unknown or not valid is an error, as it is at start.

    Examples:

      clipsearch config search

      ENCODER_PORT=6000 clipsearch config encoder --json
    """
    from clipsearch.serving.settings import effective, load_settings, markdown_table

    cls = _class(service)
    if table:
        typer.echo(markdown_table(cls), nl=False)
        return
    values = effective(load_settings(cls))
    if json:
        print_json(values)
        return
    for name, value in values.items():
        typer.echo(f"{name}={value}" if value else f"# {name}=")


def _class(service: Literal["encoder", "search"]) -> type[ServingSettings]:
    # Here alone, so that neither service's settings are imported for the other's.
    if service == "encoder":
        from encoder_service.settings import EncoderSettings

        return EncoderSettings
    from search_service.settings import SearchSettings

    return SearchSettings
