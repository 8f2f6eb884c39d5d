"""Bulk loading for callers without an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from clipsearch.aio import AsyncClient
from clipsearch.credentials import ClientTls
from clipsearch.ingest.progress import Failure, IngestReport, Progress
from clipsearch.ingest.run import Ingest, IngestOptions
from clipsearch.ingest.source import Source

CALL_TIMEOUT_S = 120.0


def ingest(
    address: str,
    collection: str,
    source: Source,
    *,
    checkpoint: Path | str | None = None,
    fingerprint: str = "",
    options: IngestOptions = IngestOptions(),
    on_progress: Callable[[Progress], None] = lambda progress: None,
    on_failure: Callable[[Failure], None] = lambda failure: None,
    timeout: float = CALL_TIMEOUT_S,
    token: str | None = None,
    tls: ClientTls | None = None,
) -> IngestReport:
    """Loads a source into a collection that exists, through the search service at `address`.

    The arguments are those of `Ingest` and of `AsyncClient`. Raises what `Ingest.run` raises.
    """

    async def run() -> IngestReport:
        async with AsyncClient(address, timeout=timeout, token=token, tls=tls) as client:
            return await Ingest(
                client,
                collection,
                source,
                checkpoint=checkpoint,
                fingerprint=fingerprint,
                options=options,
                on_progress=on_progress,
                on_failure=on_failure,
            ).run()

    return asyncio.run(run())
