"""Starts the encoder service: settings, then its parts, then the server."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import warnings
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import structlog
from PIL import Image

from clipsearch.serving.lifecycle import Service, StartError, serve
from clipsearch.serving.settings import SettingsError, load_settings
from clipsearch.serving.telemetry.log import configure_logging
from clipsearch.serving.telemetry.metrics import Metrics
from encoder_service.bundle import BundleError
from encoder_service.loading import open_encoder
from encoder_service.memory import give_memory_back
from encoder_service.metrics import EncoderMetrics
from encoder_service.runtime.providers import SessionError
from encoder_service.servicer import encoder_services
from encoder_service.settings import EncoderSettings

_log = structlog.get_logger(__name__)


def run(settings: EncoderSettings) -> None:
    """Serves until SIGTERM or SIGINT. Raises StartError with one line for the operator."""
    configure_logging(settings.log_level, settings.log_format, "encoder")
    # Pillow warns of damaged metadata: nothing an operator could act on.
    warnings.filterwarnings("ignore", module="PIL")
    # Its bound on pixels says nothing of what they cost; ours is on memory and time.
    Image.MAX_IMAGE_PIXELS = None
    give_memory_back()
    # Else the tokenizer starts a thread for each CPU of the host, whatever the cgroup grants.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    metrics = Metrics()
    problems: list[str] = []

    def give_up(problem: str) -> None:
        """Drains as on SIGTERM, and exits with status 1: whatever supervises the process starts a new one."""
        if not problems:
            _log.error("encoder cannot go on", problem=problem)
            problems.append(problem)
            signal.raise_signal(signal.SIGTERM)

    @asynccontextmanager
    async def open_services() -> AsyncIterator[Sequence[Service]]:
        async with open_encoder(settings, EncoderMetrics(metrics.registry), give_up) as encoder:
            yield encoder_services(encoder, settings)

    try:
        asyncio.run(serve(settings, "encoder", open_services, metrics))
    except (BundleError, SessionError) as error:
        raise StartError(str(error)) from error
    if problems:
        raise StartError(problems[0])


def main() -> None:
    """`python -m encoder_service`: settings from ENCODER_ variables; flags are the CLI's part."""
    argparse.ArgumentParser(
        prog="python -m encoder_service",
        description="Serves a model bundle. Set by ENCODER_ variables, which `clipsearch config encoder "
        "--table` lists; `clipsearch serve encoder` takes them as flags too.",
    ).parse_args()
    try:
        run(load_settings(EncoderSettings))
    except (SettingsError, StartError) as error:
        sys.exit(f"encoder: {error}")


if __name__ == "__main__":
    main()
