"""An encoder from its parts, wherever the model runs: in this process or, asked over a link, in another."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from encoder_service.admission import Admission, House
from encoder_service.batching import Computes
from encoder_service.bundle import Manifest
from encoder_service.cache import TextCache
from encoder_service.cpus import available_cpus
from encoder_service.encoder import Encoder, ImageTower, Running, TextTower
from encoder_service.images import ImageLimits
from encoder_service.metrics import EncoderMetrics
from encoder_service.settings import MIB, EncoderSettings
from encoder_service.tokens import TextTokenizer, Tokens


@dataclass(frozen=True, slots=True)
class Houses:
    """The work of both towers, shared by the front ends where there are several."""

    images: House = field(default_factory=House)
    texts: House = field(default_factory=House)


@contextmanager
def assemble(
    settings: EncoderSettings,
    metrics: EncoderMetrics,
    manifest: Manifest,
    running: Running,
    tokenizer: TextTokenizer,
    pictures: Computes[NDArray[np.uint8]],
    texts: Computes[Tokens],
    houses: Houses | None = None,
) -> Iterator[Encoder]:
    """An encoder, and the threads it decodes in, until the block ends; `metrics` tell of it."""
    houses = houses or Houses()
    threads = decode_threads(settings)
    with ThreadPoolExecutor(threads, "decode") as decoders:
        images = ImageTower(
            pictures,
            Admission("pictures", settings.queue_images, settings.queue_bytes, house=houses.images),
            ImageLimits(settings.max_image_bytes, settings.max_pixels),
            decoders,
            threads,
        )
        words = TextTower(
            texts,
            Admission("texts", settings.queue_texts, settings.queue_bytes, house=houses.texts),
            tokenizer,
            TextCache(settings.text_cache_mb * MIB),
            settings.max_text_bytes,
        )
        metrics.watch(manifest, running, images, words)
        yield Encoder(manifest, running, images, words, metrics.encoded)


def decode_threads(settings: EncoderSettings) -> int:
    """Threads that decode in this process: as set, or this one's share of the CPUs."""
    return settings.decode_threads or math.ceil(available_cpus() / max(1, settings.frontends))
