"""`clipsearch serve`: the services themselves, in this process or as two children."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from clipsearch.cli.shared.options import PortFile
from clipsearch.cli.shared.problems import Problem
from clipsearch.cli.shared.processes import run_together

if TYPE_CHECKING:
    from encoder_service.settings import EncoderSettings

app = typer.Typer(
    no_args_is_help=True,
    help="Runs a service, or both. Every setting is a variable too: `clipsearch config` prints them.",
)

Host = Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")]
Model = Annotated[
    Path | None, typer.Option(help="Folder of the model bundle.", show_default="build/models/starter")
]
DataDir = Annotated[
    Path | None, typer.Option(help="Folder of the collections.", show_default="clipsearch-data")
]
QdrantUrl = Annotated[
    str | None, typer.Option(help="Qdrant server to use instead of --data-dir; see also QDRANT_URL.")
]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"] | None, typer.Option(help="Least severe level logged.")
]


@app.command()
def encoder(
    context: typer.Context,
    model: Model = None,
    host: Host = None,
    port: Annotated[int | None, typer.Option(help="0 = any free one.", show_default="50051")] = None,
    port_file: PortFile = None,
    log_level: LogLevel = None,
) -> None:
    """Runs the encoder service: images and words in, vectors out.

    Examples:

      clipsearch serve encoder --model build/models/starter

      ENCODER_THREADS=4 clipsearch serve encoder --port 50061
    """
    from clipsearch.serving.settings import load_settings
    from encoder_service.__main__ import run
    from encoder_service.settings import EncoderSettings

    run(load_settings(EncoderSettings, **context.params))


@app.command()
def search(
    context: typer.Context,
    encoder: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="The encoder.", show_default="127.0.0.1:50051")
    ] = None,
    data_dir: DataDir = None,
    qdrant_url: QdrantUrl = None,
    host: Host = None,
    port: Annotated[int | None, typer.Option(help="0 = any free one.", show_default="50052")] = None,
    port_file: PortFile = None,
    log_level: LogLevel = None,
) -> None:
    """Runs the search service, on Qdrant Edge in a folder or on a Qdrant server.

    Examples:

      clipsearch serve search --data-dir ./data

      clipsearch serve search --qdrant-url http://localhost:6333
    """
    from clipsearch.serving.settings import load_settings
    from search_service.__main__ import run
    from search_service.settings import SearchSettings

    run(load_settings(SearchSettings, **context.params))


@app.command(name="all")
def both(model: Model = None, data_dir: DataDir = None, qdrant_url: QdrantUrl = None) -> None:
    """Runs both services here, each in a process of its own, until Ctrl-C or until one of them ends.

    The search service asks this encoder, wherever that listens, unless SEARCH_ENCODER names another.

    Example:

      clipsearch serve all --model build/models/starter --data-dir ./data
    """
    from clipsearch.serving.settings import load_settings
    from encoder_service.settings import EncoderSettings
    from search_service.settings import SearchSettings

    encoder = load_settings(EncoderSettings, model=model)
    search = load_settings(SearchSettings, data_dir=data_dir, qdrant_url=qdrant_url)
    address = None if "encoder" in search.model_fields_set else _reached_at(encoder)
    encoder_flags = _flags({"--model": model})
    search_flags = _flags({"--data-dir": data_dir, "--qdrant-url": qdrant_url, "--encoder": address})
    raise typer.Exit(
        run_together({"encoder": ["encoder", *encoder_flags], "search": ["search", *search_flags]})
    )


def _reached_at(encoder: EncoderSettings) -> str:
    """The address of an encoder that will be on this machine. Raises Problem where nobody can know it yet."""
    from clipsearch.channel.connection import host_port

    if not encoder.port:
        raise Problem(
            "ENCODER_PORT=0: the search service could not know the port; name one, or SEARCH_ENCODER"
        )
    anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1", "[::]": "::1"}  # noqa: S104 - compared, not bound
    return host_port(anywhere.get(encoder.host, encoder.host), encoder.port)


def _flags(given: dict[str, Path | str | None]) -> list[str]:
    return [f"{flag}={value}" for flag, value in given.items() if value is not None]
