"""What a command says when it cannot do its work: one clear line, no trace."""

from __future__ import annotations

import errno
from typing import Any

import typer
from typer.core import TyperGroup


class Problem(Exception):
    """A command cannot go on; the message is one line for whoever typed it."""


# The packages that the commands import first, by the extra that brings them.
_EXTRAS = {
    "cpu": "cachetools pydantic tokenizers",
    "search": "qdrant_client qdrant_edge",
    "eval": "ir_measures scipy",
    "parquet": "pyarrow",
    "gateway": "envoy",
    "cpu,search": "grpc_health prometheus_client pydantic_settings structlog",
    "export": "onnx_ir onnxscript open_clip sentencepiece torch torchvision transformers",
    "map": "matplotlib pacmap plotly sklearn",
    "starter": "onnx safetensors",
    "web": "starlette uvicorn",
}

# Errors whose message is for whoever typed the command. By name: to import them takes the packages of all.
_EXPECTED = {
    "clipsearch.backup.manifest.BackupError",
    "clipsearch.channel.connection.AddressError",
    "clipsearch.channel.credentials.CredentialsError",
    "clipsearch.cli.shared.problems.Problem",
    "clipsearch.client.errors.ArgumentError",
    "clipsearch.downloads.wheels.WheelError",
    "clipsearch.filters.expressions.FilterError",
    "clipsearch.gateway.process.GatewayError",
    "clipsearch.ingest.checkpoint.CheckpointError",
    "clipsearch.ingest.source.SourceError",
    "clipsearch.map.sample.NothingToShow",
    "clipsearch.plan.profile.PlanError",
    "clipsearch.reindex.move.NotMovable",
    "clipsearch.serving.service.StartError",
    "clipsearch.serving.settings.SettingsError",
    "encoder_service.bundle.BundleError",
    "encoder_service.export.ExportError",
    "encoder_service.runtime.providers.SessionError",
}


# What to do about an error of a service, by its reason or its status.
_HINTS = {
    "SERVER_UNREACHABLE": "\nIs it running? `clipsearch serve all` starts both services here.",
    "UNIMPLEMENTED": "\nIs that the port of the other service? --server (CLIPSEARCH_SERVER) is the search "
    "service, --encoder (CLIPSEARCH_ENCODER) the encoder.",
    "UNAUTHENTICATED": "\nSet CLIPSEARCH_TOKEN; `clipsearch token create` makes tokens.",
    "COLLECTION_NOT_FOUND": "\n`clipsearch collections` lists those there are; `clipsearch index` makes one.",
}
_TLS_HINTS = {
    "Socket closed": "\nDoes it speak TLS? Set CLIPSEARCH_TLS_CA to the file of its CA, "
    "and, where it asks for a certificate, CLIPSEARCH_TLS_CERT and _KEY.",
    "WRONG_VERSION_NUMBER": "\nIt speaks no TLS: unset CLIPSEARCH_TLS_CA, _CERT and _KEY.",
    "handshake": "\nCLIPSEARCH_TLS_CA, _CERT and _KEY name the files of what is trusted and shown.",
}


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
    from clipsearch.client.errors import ClipSearchError

    if isinstance(error, ClipSearchError):
        of_tls = [hint for words, hint in _TLS_HINTS.items() if words in error.message]
        if error.reason == "SERVER_UNREACHABLE" and of_tls:
            return error.message + of_tls[0]
        return error.message + (_HINTS.get(error.reason) or _HINTS.get(error.code, ""))
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:  # of stdout, which has no name
        return f"cannot be written: {error.strerror}"
    if isinstance(error, ModuleNotFoundError):
        return _what_to_install(error)
    if isinstance(error, FileNotFoundError) and error.filename is None:  # of os.getcwd
        return "the folder that this was started in is gone"
    if isinstance(error, RuntimeError) and "home directory" in str(error):  # from pathlib
        return "there is no home folder to keep files in: set HOME, or XDG_CACHE_HOME"
    names = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}
    return None if _EXPECTED.isdisjoint(names) else str(error)


def _what_to_install(error: ModuleNotFoundError) -> str | None:
    """For a package that `pip install clipsearch` alone does not bring."""
    if error.name == "onnxruntime":
        return "this needs onnxruntime: pip install 'clipsearch[cpu]', or 'clipsearch[gpu]' for NVIDIA GPUs"
    package = (error.name or "").partition(".")[0]
    for extra, packages in _EXTRAS.items():
        if package in packages.split():
            return f"this needs {package}: pip install 'clipsearch[{extra}]'"
    return None
