"""The session process: opens the model, starts front ends before it, and lives until they have drained.

It is the service to whoever started it: its end is the service's, and if it is killed the front ends
answer UNAVAILABLE and end too.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, closing

import structlog

from clipsearch.serving.lifecycle import StartError, bracketed, stop_signals, write_whole
from clipsearch.serving.metrics import Metrics, MetricsError
from encoder_service.frontends.metrics import Merged, OfSession
from encoder_service.frontends.port import hold_port
from encoder_service.frontends.supervisor import FrontEnds
from encoder_service.loading import OpenModel, open_model
from encoder_service.metrics import EncoderMetrics
from encoder_service.proving import Proving
from encoder_service.settings import EncoderSettings

OpenModels = Callable[[EncoderSettings, EncoderMetrics], AbstractAsyncContextManager[OpenModel]]

# What a scrape waits for a front end that is busy; then what it said last stands.
_SCRAPE_S = 1.0
# Beyond its delay and grace, for the end of a front end's process.
_END_S = 10.0

_log = structlog.get_logger(__name__)


async def serve_frontends(
    settings: EncoderSettings, metrics: Metrics, open_models: OpenModels = open_model
) -> None:
    """Serves with `settings.frontends` front ends until SIGTERM or SIGINT, then drains.

    Raises StartError, after draining too where a session is broken or no front end lives, and what
    `open_models` raises.
    """
    if sys.platform != "linux":
        raise StartError("ENCODER_FRONTENDS needs Linux (SO_REUSEPORT, memfd)")
    with closing(hold_port(settings.host, settings.port)) as held:
        async with open_models(settings, EncoderMetrics(metrics.registry)) as model:
            await _serve(settings, metrics, model, held.getsockname()[1])
    _log.info("encoder has stopped")


async def _serve(settings: EncoderSettings, metrics: Metrics, model: OpenModel, port: int) -> None:
    stop, hurry = stop_signals()
    told = settings.model_copy(update={"port": port, "port_file": None, "metrics_port": None})
    measured = settings.metrics_port is not None
    fronts = FrontEnds(told, model, measured)
    metrics.registry.register(OfSession(model.pictures, model.texts, fronts))
    merged = Merged(metrics.registry, _asking(fronts))
    try:
        with metrics.served(settings.host, settings.metrics_port, merged.registry) as metrics_address:
            if metrics_address is not None:
                _log.info("metrics are served", address=metrics_address)
            beating = asyncio.create_task(metrics.loop_lag.watch()) if measured else None
            async with fronts:
                await _until_end(settings, fronts, model.proving, port, stop, hurry)
            if beating is not None:
                beating.cancel()
    except MetricsError as error:
        raise StartError(str(error)) from None


async def _until_end(
    settings: EncoderSettings,
    fronts: FrontEnds,
    proving: Proving,
    port: int,
    stop: asyncio.Event,
    hurry: asyncio.Event,
) -> None:
    await _first(fronts.serving, fronts.failed, proving.broken, stop)
    if fronts.serving.is_set() and not stop.is_set():
        address = f"{bracketed(settings.host)}:{port}"
        _log.info("encoder is serving", address=address, frontends=settings.frontends)
        if settings.port_file is not None:
            await asyncio.to_thread(write_whole, settings.port_file, address)
        await _first(fronts.failed, proving.broken, stop)
    problem = fronts.problem or (proving.problem if proving.broken.is_set() else "")
    if problem:
        _log.error("encoder cannot go on", problem=problem)
    _log.info("draining", delay_s=settings.drain_delay_s, grace_s=settings.drain_grace_s)
    await fronts.drain(settings.drain_delay_s + settings.drain_grace_s + _END_S, hurry)
    if problem:
        raise StartError(problem)


def _asking(fronts: FrontEnds) -> Callable[[], Sequence[str]]:
    """For the thread that serves the metrics: what the front ends say of theirs, from the event loop."""
    loop = asyncio.get_running_loop()

    def ask() -> Sequence[str]:
        asked = asyncio.run_coroutine_threadsafe(fronts.scrape(_SCRAPE_S), loop)
        try:
            return asked.result(2 * _SCRAPE_S)
        except TimeoutError:  # the loop is busy, or has ended: what they said last stands
            return fronts.snapshots

    return ask


async def _first(*events: asyncio.Event) -> None:
    """Returns when one of the events is set."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
