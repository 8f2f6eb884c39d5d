"""From settings to a running encoder: files checked, sessions open, batch sizes measured, answer known.

Nothing here starts serving; an encoder that does not do what its manifest says is never handed out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass

import numpy as np
import structlog
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from encoder_service.admission import Admission
from encoder_service.batching import Batcher
from encoder_service.bundle import (
    BundleError,
    Manifest,
    Precision,
    Tower,
    check_files,
    graph_file,
    known_answer_pixels,
    read_manifest,
)
from encoder_service.cache import TextCache
from encoder_service.cpus import available_cpus
from encoder_service.encoder import Encoder, ImageTower, Running, TextTower
from encoder_service.images import ImageLimits
from encoder_service.metrics import EncoderMetrics
from encoder_service.session import OnnxSession, picture_runner, text_runner
from encoder_service.settings import MIB, EncoderSettings
from encoder_service.tokens import TextTokenizer
from encoder_service.warmup import best_batch, check_known_answer

# What measuring batch sizes may take for each tower, and the sizes it may choose: pictures, short texts.
MEASURE_S = 0.35
IMAGE_BATCHES = (4, 32)
TEXT_BATCHES = (16, 64)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Graph:
    """A tower's running graph, and why it is this one."""

    session: OnnxSession
    precision: Precision
    reason: str


@dataclass(frozen=True, slots=True)
class _Model:
    """A bundle in memory."""

    manifest: Manifest
    tokenizer: TextTokenizer
    image: _Graph
    text: _Graph


@asynccontextmanager
async def open_encoder(
    settings: EncoderSettings, metrics: EncoderMetrics | None = None
) -> AsyncIterator[Encoder]:
    """Loads the bundle and runs its batchers until the block ends; `metrics` tell of them.

    Raises BundleError or SessionError.
    """
    cpus = available_cpus()
    threads, decode_threads = settings.threads or cpus, settings.decode_threads or cpus
    model = await _load(settings, threads)
    pictures_at_once, tokens_at_once = await asyncio.to_thread(_warm_up, settings, model)
    _report(model)
    _log.info(
        "encoder is ready",
        threads=threads,
        decode_threads=decode_threads,
        max_batch=pictures_at_once,
        max_batch_tokens=tokens_at_once,
    )
    metrics = metrics or EncoderMetrics(CollectorRegistry())
    run_pictures = metrics.measured("image", picture_runner(model.image.session))
    run_texts = metrics.measured("text", text_runner(model.text.session, model.manifest.text))
    with (
        ThreadPoolExecutor(decode_threads, "decode") as decoders,
        # A session's own thread each: ONNX Runtime brings the others.
        ThreadPoolExecutor(1, "image-session") as image_thread,
        ThreadPoolExecutor(1, "text-session") as text_thread,
    ):
        async with (
            Batcher(run_pictures, image_thread, pictures_at_once, weigh=lambda pixels: 1) as pictures,
            Batcher(run_texts, text_thread, tokens_at_once, weigh=lambda tokens: len(tokens.ids)) as texts,
        ):
            running = Running(model.image.precision, model.text.precision, model.image.session.provider)
            images = ImageTower(
                pictures,
                Admission("pictures", settings.queue_images, settings.queue_bytes),
                ImageLimits(settings.max_image_bytes, settings.max_pixels),
                decoders,
                decode_threads,
            )
            words = TextTower(
                texts,
                Admission("texts", settings.queue_texts, settings.queue_bytes),
                model.tokenizer,
                TextCache(settings.text_cache_mb * MIB),
                settings.max_text_bytes,
            )
            metrics.watch(model.manifest, running, images, words)
            yield Encoder(model.manifest, running, images, words, metrics.encoded)


async def _load(settings: EncoderSettings, threads: int) -> _Model:
    """Hashing files and optimising graphs leave the GIL alone, so they go side by side."""
    manifest = read_manifest(settings.model)
    checking = asyncio.create_task(asyncio.to_thread(check_files, settings.model, manifest))
    try:
        tokenizer, image, text = await asyncio.gather(
            asyncio.to_thread(TextTokenizer, settings.model, manifest.text),
            asyncio.to_thread(_open_graph, settings, manifest, "image", settings.image_precision, threads),
            asyncio.to_thread(_open_graph, settings, manifest, "text", settings.text_precision, threads),
        )
    finally:
        await checking  # an altered file is told before a graph that does not load, which it explains
    return _Model(manifest, tokenizer, image, text)


def _warm_up(settings: EncoderSettings, model: _Model) -> tuple[int, int]:
    """Asks for the known answer and measures batch sizes: pictures, and tokens, that a batch may hold."""
    manifest, known = model.manifest, model.manifest.known_answer
    run_pictures = picture_runner(model.image.session)
    run_texts = text_runner(model.text.session, manifest.text)
    picture = known_answer_pixels(manifest.image.size)
    tokens = model.tokenizer.encode([known.text])[0]
    _prove(manifest, "image", model.image, run_pictures([picture])[0], known.image_vector)
    _prove(manifest, "text", model.text, run_texts([tokens])[0], known.text_vector)
    pictures_at_once = settings.max_batch or best_batch(run_pictures, picture, *IMAGE_BATCHES, MEASURE_S)
    tokens_at_once = settings.max_batch_tokens or len(tokens.ids) * best_batch(
        run_texts, tokens, *TEXT_BATCHES, MEASURE_S
    )
    return pictures_at_once, tokens_at_once


def _open_graph(
    settings: EncoderSettings, manifest: Manifest, tower: Tower, asked: str, threads: int
) -> _Graph:
    precision, reason = choose_precision(manifest, tower, asked)
    provider = "cpu" if settings.provider == "auto" else settings.provider
    return _Graph(
        OnnxSession(settings.model / graph_file(tower, precision), provider, threads), precision, reason
    )


def choose_precision(manifest: Manifest, tower: Tower, asked: str) -> tuple[Precision, str]:
    """The precision to run and why. Raises BundleError if the bundle has no such graph."""
    there = manifest.precisions[tower]
    if asked != "auto":
        for precision in there:
            if precision == asked:
                return precision, "asked for"
        raise BundleError(f"the bundle has no {asked} graph of the {tower} tower; it has {', '.join(there)}")
    chosen = manifest.preferred_cpu[tower]
    failed = [check for check in manifest.parity if check.tower == tower and not check.passed]
    if chosen == "fp32" and "int8" in there and failed:
        reasons = ", ".join(f"{check.name} {check.value:.4f}, bound {check.bound}" for check in failed)
        return chosen, f"int8 did not pass: {reasons}"
    return chosen, "the bundle's choice for CPUs"


def _prove(manifest: Manifest, tower: Tower, graph: _Graph, vector: NDArray[np.float32], known: str) -> None:
    """Raises SessionError, with the way out if there is one, for a vector that is not the known answer."""
    lower = graph.precision != "fp32" and "fp32" in manifest.precisions[tower]
    advice = f": export it again, or run fp32 with ENCODER_{tower.upper()}_PRECISION=fp32" if lower else ""
    check_known_answer(tower, vector, known, graph.precision, advice)


def _report(model: _Model) -> None:
    for tower, graph in (("image", model.image), ("text", model.text)):
        _log.info(
            f"{tower} tower",
            model=model.manifest.name,
            fingerprint=model.manifest.fingerprint,
            provider=graph.session.provider,
            precision=graph.precision,
            precision_because=graph.reason,
        )
    if not model.manifest.pretrained:
        _log.warning(
            "this model has RANDOM weights: its vectors mean nothing; for benchmarks and tests only",
            model=model.manifest.name,
        )
