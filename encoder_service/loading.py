"""From settings to a running encoder: files checked, sessions open, batch sizes measured, answer known.

Nothing here starts serving; an encoder that does not do what its manifest says is never handed out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

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


@asynccontextmanager
async def open_encoder(settings: EncoderSettings) -> AsyncIterator[Encoder]:
    """Loads the bundle and runs its batchers until the block ends.

    Raises BundleError or SessionError.
    """
    manifest = read_manifest(settings.model)
    cpus = available_cpus()
    threads, decode_threads = settings.threads or cpus, settings.decode_threads or cpus
    image, text, tokenizer = await _load(settings, manifest, threads)
    run_pictures = picture_runner(image.session)
    run_texts = text_runner(text.session, manifest.text)
    picture = known_answer_pixels(manifest.image.size)
    tokens = tokenizer.encode([manifest.known_answer.text])[0]

    def warm_up() -> tuple[int, int]:
        known = manifest.known_answer
        check_known_answer("image", run_pictures([picture])[0], known.image_vector, image.precision)
        check_known_answer("text", run_texts([tokens])[0], known.text_vector, text.precision)
        pictures = settings.max_batch or best_batch(run_pictures, picture, *IMAGE_BATCHES, MEASURE_S)
        tokens_at_once = settings.max_batch_tokens or len(tokens.ids) * best_batch(
            run_texts, tokens, *TEXT_BATCHES, MEASURE_S
        )
        return pictures, tokens_at_once

    max_batch, max_batch_tokens = await asyncio.to_thread(warm_up)
    _report(manifest, image, text)
    _log.info(
        "encoder is ready",
        threads=threads,
        decode_threads=decode_threads,
        max_batch=max_batch,
        max_batch_tokens=max_batch_tokens,
    )
    with (
        ThreadPoolExecutor(decode_threads, "decode") as decoders,
        _thread("image") as a,
        _thread("text") as b,
    ):
        async with (
            Batcher(run_pictures, a, max_batch, weigh=lambda pixels: 1) as pictures,
            Batcher(run_texts, b, max_batch_tokens, weigh=lambda tokens: len(tokens.ids)) as texts,
        ):
            yield Encoder(
                manifest,
                Running(image.precision, text.precision, image.session.provider),
                ImageTower(
                    pictures,
                    Admission("pictures", settings.queue_images, settings.queue_bytes),
                    ImageLimits(settings.max_image_bytes, settings.max_pixels),
                    decoders,
                    decode_threads,
                ),
                TextTower(
                    texts,
                    Admission("texts", settings.queue_texts, settings.queue_bytes),
                    tokenizer,
                    TextCache(settings.text_cache_mb * MIB),
                    settings.max_text_bytes,
                ),
            )


async def _load(
    settings: EncoderSettings, manifest: Manifest, threads: int
) -> tuple[_Graph, _Graph, TextTokenizer]:
    """Hashing files and optimising graphs leave the GIL alone, so they go side by side."""
    results = await asyncio.gather(
        asyncio.to_thread(check_files, settings.model, manifest),
        asyncio.to_thread(_open_graph, settings, manifest, "image", settings.image_precision, threads),
        asyncio.to_thread(_open_graph, settings, manifest, "text", settings.text_precision, threads),
        asyncio.to_thread(TextTokenizer, settings.model, manifest.text),
        return_exceptions=True,
    )
    # In this order: an altered file explains a graph that does not load.
    for result in results:
        if isinstance(result, BaseException):
            raise result
    _, image, text, tokenizer = results
    return image, text, tokenizer  # type: ignore[return-value]  # the exceptions are gone


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


def _report(manifest: Manifest, image: _Graph, text: _Graph) -> None:
    for tower, graph in (("image", image), ("text", text)):
        _log.info(
            f"{tower} tower",
            model=manifest.name,
            fingerprint=manifest.fingerprint,
            provider=graph.session.provider,
            precision=graph.precision,
            precision_because=graph.reason,
        )
    if not manifest.pretrained:
        _log.warning(
            "this model has RANDOM weights: its vectors mean nothing; for benchmarks and tests only",
            model=manifest.name,
        )


def _thread(tower: Tower) -> ThreadPoolExecutor:
    """A session's own thread: ONNX Runtime brings the others."""
    return ThreadPoolExecutor(1, f"{tower}-session")
