"""`clipsearch token`: makes bearer tokens for the services' tokens file."""

from __future__ import annotations

from typing import Annotated

import typer

_OPTIONS = {"name": "--name", "scopes": "--scope", "rate_per_s": "--rate", "tenant": "--tenant"}

app = typer.Typer(no_args_is_help=True, help="Makes tokens for callers.")


@app.callback()
def token() -> None:
    """Makes tokens for callers."""


@app.command()
def create(
    name: Annotated[str, typer.Option(help="Who will call with it; stands in the logs.")],
    scope: Annotated[
        list[str],
        typer.Option(
            help="encode, search, write or admin; may be given several times. None includes another.",
        ),
    ],
    collection: Annotated[
        list[str] | None,
        typer.Option(help="Restrict the token to this collection or alias; may be given several times."),
    ] = None,
    tenant: Annotated[
        str | None,
        typer.Option(
            metavar="FIELD=VALUE",
            help="Restrict the token to points whose payload has this; what it writes gets it.",
        ),
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="Calls a second; without it the service's default.")
    ] = None,
) -> None:
    """Prints a new token once, on stderr, and the line for the tokens file on stdout.

    The file holds a hash, from which the token cannot be had again. Services reload the file by
    themselves. To change a token without a gap: add the new line, move the caller, remove the old line.

    Examples:

      clipsearch token create --name shop --scope search >> tokens

      clipsearch token create --name indexer --scope search --scope write --collection photos >> tokens

      clipsearch token create --name acme --scope search --scope write --tenant shop=acme >> tokens
    """
    from pydantic import ValidationError

    from clipsearch.serving.security.tokens import Grant, create_token, line, sha256

    if tenant is not None and "=" not in tenant:
        raise typer.BadParameter(f"{tenant!r} is not FIELD=VALUE", param_hint="--tenant")
    field, _, value = (tenant or "").partition("=")
    token = create_token()
    try:
        grant = Grant.model_validate(
            {
                "name": name,
                "sha256": sha256(token),
                "scopes": scope,
                "collections": collection or None,
                "rate_per_s": rate,
                "tenant": {"field": field, "value": value} if tenant is not None else None,
            }
        )
    except ValidationError as error:
        problem = error.errors()[0]
        field, *inside = [str(name) for name in problem["loc"] if isinstance(name, str)] or [""]
        said = ": ".join([*inside, problem["msg"].removeprefix("Value error, ")])
        raise typer.BadParameter(said, param_hint=_OPTIONS.get(field)) from None
    typer.echo(f"token of {name} (it is not shown again): {token}", err=True)
    typer.echo(line(grant))
