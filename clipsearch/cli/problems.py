"""What a command says when it cannot do its work: one clear line, no trace."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup


class Problem(Exception):
    """A command cannot go on; the message is one line for whoever typed it."""


class Commands(TyperGroup):
    """Prints expected errors as one line on stderr and exits with 1; anything else is a bug and shows."""

    def invoke(self, ctx: Any) -> Any:  # noqa: D102
        try:
            return super().invoke(ctx)
        except Exception as error:
            message = explain(error)
            if message is None:
                raise
            typer.secho(f"error: {message}", err=True, fg=typer.colors.RED)
            raise typer.Exit(1) from None


def explain(error: Exception) -> str | None:
    """The line for an error that can be expected; None for any other."""
    from clipsearch.channel.credentials import CredentialsError
    from clipsearch.client.errors import ClipSearchError
    from clipsearch.filters.expressions import FilterError
    from clipsearch.ingest import CheckpointError, SourceError
    from clipsearch.serving.lifecycle import StartError
    from clipsearch.serving.settings import SettingsError

    if isinstance(error, ClipSearchError):
        return f"{error.message}{_hint(error)}"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, ModuleNotFoundError) and error.name == "onnxruntime":
        return str(error)
    if isinstance(error, FileNotFoundError) and error.filename is None:  # of os.getcwd
        return "the folder that this was started in is gone"
    if isinstance(error, RuntimeError) and "home directory" in str(error):  # from pathlib
        return "there is no home folder to keep files in: set HOME, or XDG_CACHE_HOME"
    expected = CheckpointError | CredentialsError | FilterError | Problem | SettingsError | SourceError
    if isinstance(error, expected | StartError):
        return str(error)
    return None


def _hint(error: Any) -> str:
    if error.reason == "SERVER_UNREACHABLE":
        return "\nIs it running? `clipsearch serve all` starts both services here."
    if error.code == "UNIMPLEMENTED":
        return (
            "\nIs that the port of the other service? --server (CLIPSEARCH_SERVER) is the search service, "
            "--encoder (CLIPSEARCH_ENCODER) the encoder."
        )
    if error.code == "UNAUTHENTICATED":
        return "\nSet CLIPSEARCH_TOKEN; `clipsearch token create` makes tokens."
    if error.reason == "COLLECTION_NOT_FOUND":
        return "\n`clipsearch collections` lists those there are; `clipsearch index` makes one."
    return ""
