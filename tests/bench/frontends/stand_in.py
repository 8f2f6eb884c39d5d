"""An encoder whose model costs next to nothing, so that what is before the model can be measured.

    python -m tests.bench.frontends.stand_in       (settings from ENCODER_ variables)

All but the graphs is the service's own; pixels are gathered into a batch, as for any model, and the
vectors are all alike. Pictures are 224 x 224.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import numpy as np
from numpy.typing import NDArray

from clipsearch.serving.lifecycle import Service, serve
from clipsearch.serving.log import configure_logging
from clipsearch.serving.metrics import Metrics
from clipsearch.serving.settings import load_settings
from encoder_service.assembly import assemble
from encoder_service.batching import Batcher
from encoder_service.bundle import read_manifest
from encoder_service.encoder import Running
from encoder_service.frontends.service import serve_frontends
from encoder_service.loading import OpenModel
from encoder_service.metrics import EncoderMetrics
from encoder_service.proving import Proving
from encoder_service.servicer import encoder_services
from encoder_service.settings import EncoderSettings
from encoder_service.tokens import TextTokenizer, Tokens

SIZE = 224
BATCH = 64


@asynccontextmanager
async def open_stand_in(settings: EncoderSettings, metrics: EncoderMetrics) -> AsyncIterator[OpenModel]:
    """A model that answers at once."""
    manifest = read_manifest(settings.model)
    manifest = manifest.model_copy(update={"image": manifest.image.model_copy(update={"size": SIZE})})
    vectors = np.full((BATCH, manifest.dimension), manifest.dimension**-0.5, np.float32)
    gathered = np.empty((BATCH, SIZE, SIZE, 3), np.uint8)

    def run_pictures(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        np.stack(pictures, out=gathered[: len(pictures)])
        return vectors[: len(pictures)]

    def run_texts(texts: Sequence[Tokens]) -> NDArray[np.float32]:
        return vectors[: len(texts)]

    with ThreadPoolExecutor(1) as image_thread, ThreadPoolExecutor(1) as text_thread:
        async with (
            Batcher(metrics.measured("image", run_pictures), image_thread, BATCH, lambda _: 1) as pictures,
            Batcher(metrics.measured("text", run_texts), text_thread, BATCH, lambda _: 1) as texts,
        ):
            tokenizer = TextTokenizer(settings.model, manifest.text)
            proving = Proving(manifest, tokenizer, pictures, texts)
            running = Running("fp32", "fp32", "none")
            yield OpenModel(manifest, running, tokenizer, pictures, texts, proving)


async def _serve_alone(settings: EncoderSettings, metrics: Metrics) -> None:
    """As the service does without front ends."""
    of_encoder = EncoderMetrics(metrics.registry)

    @asynccontextmanager
    async def open_services() -> AsyncIterator[Sequence[Service]]:
        async with open_stand_in(settings, of_encoder) as model:
            with assemble(
                settings, of_encoder, model.manifest, model.running, model.tokenizer,
                model.pictures, model.texts,
            ) as encoder:  # fmt: skip
                yield encoder_services(encoder, settings, model.proving.ready)

    await serve(settings, "encoder", open_services, metrics)


def main() -> None:
    settings = load_settings(EncoderSettings)
    configure_logging("info", "json", "stand-in")
    if settings.frontends:
        asyncio.run(serve_frontends(settings, Metrics(), open_stand_in))
    else:
        asyncio.run(_serve_alone(settings, Metrics()))


if __name__ == "__main__":
    main()
