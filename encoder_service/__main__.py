"""Starts the encoder service: settings, then its parts, then the server."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import warnings
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from PIL import Image

from clipsearch.encoder.v1 import encoder_pb2_grpc, openai_pb2_grpc
from clipsearch.serving.deadline import deadline
from clipsearch.serving.lifecycle import Process, serve
from clipsearch.serving.service import Service, StartError
from clipsearch.serving.settings import SettingsError, load_settings
from clipsearch.serving.telemetry.log import configure_logging
from encoder_service import openai, servicer
from encoder_service.bundle import BundleError
from encoder_service.encoder import Encoder
from encoder_service.loading import open_encoder
from encoder_service.machine import give_memory_back
from encoder_service.metrics import EncoderMetrics
from encoder_service.runtime.providers import SessionError
from encoder_service.settings import EncoderSettings

_OF_IMAGES = {"EncodeImage", "Classify"}


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

    @asynccontextmanager
    async def open_services(process: Process) -> AsyncIterator[Sequence[Service]]:
        # Where a tower works no more, status 1: whatever supervises the process starts a new one.
        async with open_encoder(settings, EncoderMetrics(process.metrics.registry), process.fail) as encoder:
            yield encoder_services(encoder, settings)

    try:
        asyncio.run(serve(settings, "encoder", open_services))
    except (BundleError, SessionError) as error:
        raise StartError(str(error)) from error


def encoder_services(encoder: Encoder, settings: EncoderSettings) -> list[Service]:
    """What the encoder serves: ready as soon as it is served, for its model has given the known answer."""
    encoding = servicer.EncoderServicer(encoder, settings)
    embeddings = openai.OpenAIServicer(encoder, settings)

    def precheck(method: str) -> None:
        # Before images are taken in and parsed: most of what refusing a call costs. A text may be cached, and
        # then waits for nothing.
        if method in _OF_IMAGES:
            encoder.images.admission.check(deadline())

    return [
        Service(
            servicer.SERVICE_NAME,
            lambda server: encoder_pb2_grpc.add_EncoderServiceServicer_to_server(encoding, server),
            precheck=precheck,
        ),
        Service(
            openai.SERVICE_NAME,
            lambda server: openai_pb2_grpc.add_OpenAIServiceServicer_to_server(embeddings, server),
        ),
    ]


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
