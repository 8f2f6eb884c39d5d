"""The `clipsearch` command. One file a group of commands."""

from __future__ import annotations

import typer

from clipsearch.cli import collections, config, model, serve, token
from clipsearch.cli.backup import backup, restore
from clipsearch.cli.classify import classify
from clipsearch.cli.delete import delete
from clipsearch.cli.demo import demo
from clipsearch.cli.duplicates import duplicates
from clipsearch.cli.eval import eval
from clipsearch.cli.facet import facet
from clipsearch.cli.gateway import gateway
from clipsearch.cli.health import health
from clipsearch.cli.index import index
from clipsearch.cli.map import map
from clipsearch.cli.plan import plan
from clipsearch.cli.reindex import reindex
from clipsearch.cli.search import search
from clipsearch.cli.shared.output import tolerate_encodings
from clipsearch.cli.shared.problems import Commands
from clipsearch.cli.update import update
from clipsearch.cli.web import web

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Searches images and texts by meaning: an encoder service, a search service, and their client.

    First steps:

      clipsearch serve all                  both services, on this machine

      clipsearch index ~/Pictures           in another terminal

      clipsearch search "a cat"

      clipsearch web --root ~/Pictures      the same in a browser

    Services with tokens or TLS: CLIPSEARCH_TOKEN, CLIPSEARCH_TLS_CA (and CLIPSEARCH_TLS_CERT, _KEY for mTLS).
    """,
)
app.add_typer(serve.app, name="serve")
app.command()(index)
app.command()(search)
app.command()(facet)
app.command()(update)
app.command()(delete)
app.command()(classify)
app.command()(reindex)
app.command()(duplicates)
app.command()(backup)
app.command()(restore)
app.command()(eval)
app.command()(map)
app.command()(web)
app.command()(gateway)
app.add_typer(collections.app, name="collections")
app.add_typer(model.app, name="model")
app.add_typer(token.app, name="token")
app.command(name="config")(config.config)
app.command()(health)
app.command()(plan)
app.command()(demo)


def main() -> None:
    """The console script."""
    tolerate_encodings()
    app(prog_name="clipsearch")
