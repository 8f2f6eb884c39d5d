"""From settings to a running encoder: files checked, sessions open, batch sizes measured, answer known.

Nothing here starts serving; an encoder that does not do what its manifest says is never handed out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import structlog
from prometheus_client import CollectorRegistry

from clipsearch.serving.settings import MIB
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
from encoder_service.encoder import Encoder, ImageTower, Running, TextTower
from encoder_service.inputs.budget import MemoryBudget
from encoder_service.inputs.images import Decoding
from encoder_service.inputs.texts import TextTokenizer, Tokens
from encoder_service.machine import available_cpus, decoding_memory
from encoder_service.metrics import EncoderMetrics
from encoder_service.queue.admission import Admission
from encoder_service.queue.batcher import Batcher
from encoder_service.queue.cache import TextCache
from encoder_service.runtime.gpu import gpu_images, gpu_texts
from encoder_service.runtime.providers import (
    ProviderName,
    SessionError,
    both_wheels,
    choose_precision,
    choose_provider,
    installed_wheels,
)
from encoder_service.runtime.session import (
    Feeding,
    Item,
    OnnxSession,
    Pixels,
    best_batch,
    check_known_answer,
    plain_images,
    plain_texts,
)
from encoder_service.settings import EncoderSettings

# What measuring batch sizes may take for each tower.
MEASURE_S = 0.35

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Graph:
    """A tower's running graph, why it is this one, and why it is where it is."""

    session: OnnxSession
    provider: ProviderName
    provider_reason: str
    precision: Precision
    precision_reason: str


@dataclass(frozen=True, slots=True)
class _Model:
    """A bundle in memory."""

    manifest: Manifest
    tokenizer: TextTokenizer
    image: _Graph
    text: _Graph


@asynccontextmanager
async def open_encoder(
    settings: EncoderSettings,
    metrics: EncoderMetrics | None = None,
    give_up: Callable[[str], None] = lambda problem: None,
) -> AsyncIterator[Encoder]:
    """Loads the bundle and runs all that encodes with it until the block ends; `metrics` tell of it.

    `give_up` hears of a tower that works no more. Raises BundleError or SessionError.
    """
    metrics = metrics or EncoderMetrics(CollectorRegistry())
    threads = settings.threads or available_cpus()
    decode_threads = settings.decode_threads or available_cpus()
    model = await _load(settings, threads)
    images, texts = await asyncio.to_thread(_warm_up, settings, model)
    _report(model)
    # The model is in memory now: what it takes is known.
    budget = MemoryBudget(settings.decode_memory_mb * MIB or decoding_memory())
    _log.info(
        "encoder is ready",
        threads=threads,
        decode_threads=decode_threads,
        decode_memory_mb=budget.size // MIB,
        max_batch=images.capacity,
        max_batch_tokens=texts.capacity,
    )

    def batcher(tower: Tower, feeding: Feeding[Item], executor: Executor) -> Batcher[Item]:
        return Batcher(
            metrics.measured(tower, feeding.run),
            executor,
            feeding.capacity,
            feeding.weigh,
            feeding.in_flight,
            lambda problem: give_up(f"the {tower} tower works no more: {problem}"),
        )

    with (
        # A session's own threads: ONNX Runtime brings those that compute.
        ThreadPoolExecutor(images.in_flight, "image-session") as image_threads,
        ThreadPoolExecutor(texts.in_flight, "text-session") as text_threads,
        ThreadPoolExecutor(decode_threads, "decode") as decoders,
        ThreadPoolExecutor(available_cpus(), "tokenise") as tokenisers,
    ):
        async with (
            batcher("image", images, image_threads) as image_batches,
            batcher("text", texts, text_threads) as text_batches,
        ):
            running = Running(model.image.precision, model.text.precision, model.image.session.provider)
            image_tower = ImageTower(
                image_batches,
                Admission("images", settings.queue_images, settings.queue_bytes),
                Decoding(model.manifest.image, settings.max_image_bytes, budget, decoders, decode_threads),
            )
            text_tower = TextTower(
                text_batches,
                Admission("texts", settings.queue_texts, settings.queue_bytes),
                model.tokenizer,
                tokenisers,
                TextCache(settings.text_cache_mb * MIB),
                settings.max_text_bytes,
            )
            encoder = Encoder(model.manifest, running, image_tower, text_tower, metrics.encoded)
            metrics.watch(encoder)
            yield encoder


async def _load(settings: EncoderSettings, threads: int) -> _Model:
    """Hashing files and optimising graphs leave the GIL alone, so they go side by side."""
    if problem := both_wheels(installed_wheels()):
        _log.warning(problem)
    manifest = read_manifest(settings.model)
    checking = asyncio.create_task(asyncio.to_thread(check_files, settings.model, manifest))
    try:
        tokenizer, (image, text) = await asyncio.gather(
            asyncio.to_thread(TextTokenizer, settings.model, manifest.text),
            _open_graphs(settings, manifest, threads),
        )
    finally:
        await checking  # an altered file is told before a graph that does not load, which it explains
    return _Model(manifest, tokenizer, image, text)


async def _open_graphs(settings: EncoderSettings, manifest: Manifest, threads: int) -> tuple[_Graph, _Graph]:
    """Both towers on the provider asked for; `auto` takes the CPU for what a card cannot run."""

    async def open_on(provider: ProviderName, reason: str) -> tuple[_Graph, _Graph]:
        how = settings, manifest, provider, reason, threads
        return await asyncio.gather(
            asyncio.to_thread(_open_graph, "image", *how), asyncio.to_thread(_open_graph, "text", *how)
        )

    provider, reason = await asyncio.to_thread(choose_provider, settings.provider, settings.gpu_device)
    try:
        return await open_on(provider, reason)
    except (BundleError, SessionError) as error:
        if settings.provider != "auto" or provider == "cpu":
            raise
        return await open_on("cpu", str(error))


def _warm_up(settings: EncoderSettings, model: _Model) -> tuple[Feeding[Pixels], Feeding[Tokens]]:
    """Asks for the known answer and measures how many images, and tokens, a batch may hold."""
    manifest, session = model.manifest, model.image.session
    on_gpu = model.image.provider == "cuda"
    images = gpu_images(session, manifest.image.size, settings.max_batch) if on_gpu else plain_images(session)
    image = known_answer_pixels(manifest.image.size)
    check_known_answer(manifest, "image", model.image.precision, images.run([image])[0])
    session, rules = model.text.session, manifest.text
    texts = gpu_texts(session, rules, settings.max_batch_tokens) if on_gpu else plain_texts(session, rules)
    tokens = model.tokenizer.encode([manifest.known_answer.text])[0]
    check_known_answer(manifest, "text", model.text.precision, texts.run([tokens])[0])
    return _measured(images, image, settings.max_batch), _measured(texts, tokens, settings.max_batch_tokens)


def _measured(feeding: Feeding[Item], item: Item, asked: int) -> Feeding[Item]:
    """With the capacity that was asked for, or that suits this machine."""
    best = asked or feeding.weigh(item) * best_batch(feeding.run, item, *feeding.sizes, MEASURE_S)
    return replace(feeding, capacity=min(best, feeding.capacity or best))


def _open_graph(
    tower: Tower,
    settings: EncoderSettings,
    manifest: Manifest,
    provider: ProviderName,
    provider_reason: str,
    threads: int,
) -> _Graph:
    asked = settings.image_precision if tower == "image" else settings.text_precision
    precision, reason = choose_precision(manifest, tower, asked, provider)
    path = settings.model / graph_file(tower, precision)
    session = OnnxSession(
        path, provider, threads, device=settings.gpu_device, memory_mb=settings.gpu_memory_mb
    )
    return _Graph(session, provider, provider_reason, precision, reason)


def _report(model: _Model) -> None:
    for tower, graph in (("image", model.image), ("text", model.text)):
        _log.info(
            f"{tower} tower",
            model=model.manifest.name,
            fingerprint=model.manifest.fingerprint,
            provider=graph.session.provider,
            provider_because=graph.provider_reason,
            precision=graph.precision,
            precision_because=graph.precision_reason,
        )
    if not model.manifest.pretrained:
        _log.warning(
            "this model has RANDOM weights: its vectors mean nothing; for benchmarks and tests only",
            model=model.manifest.name,
        )
