"""Services of an evaluation's own: for each model, precision and compression, as long as it is asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from clipsearch.cli.shared import processes
from clipsearch.cli.shared.index_run import index_source
from clipsearch.cli.shared.output import say
from clipsearch.cli.shared.problems import Problem
from clipsearch.client.aio import AsyncClient
from clipsearch.client.inputs import Quantization
from clipsearch.client.retrying import Retrying
from clipsearch.eval.run import Asking, Row, evaluate
from clipsearch.ingest import Source

COLLECTION = "evaluated"
# An index however few the points are, or neither a beam nor a compression would change anything.
_INDEXED_FROM = 100
_FULL_SCAN_KB = 10
_INDEX_S = 1800.0
_POLL_S = 0.2
_TIMEOUT_S = 120.0
_SEARCH = {"SEARCH_INDEX_THRESHOLD": str(_INDEXED_FROM), "SEARCH_INDEX_QUIET_S": "0.2", "QDRANT_URL": ""}

Pair = tuple[str, str]
"""The precisions of the image and the text tower."""


async def own_rows(
    source: Source,
    asking: Asking,
    scratch: Path,
    *,
    models: Sequence[Path],
    precisions: Sequence[str],
    quantizations: Sequence[Quantization],
    efs: Sequence[int],
) -> list[Row]:
    """The rows of every model; each is compared with its exact search in fp32, where the bundle has that.

    Without `precisions` each bundle runs in its own choice. Raises Problem, BundleError, SourceError, OSError
    and ClipSearchError.
    """
    rows: list[Row] = []
    for number, model in enumerate(models):
        name, reference_pair, pairs = _precisions(model, precisions)
        reference: Row | None = None
        for pair in dict.fromkeys([reference_pair, *pairs]):
            label = pair[0] if pair[0] == pair[1] else "/".join(pair)
            folder = scratch / f"{number}-{pair[0]}-{pair[1]}"
            settings = {
                "ENCODER_IMAGE_PRECISION": pair[0],
                "ENCODER_TEXT_PRECISION": pair[1],
                # Without its cache a text takes its time each time that it is asked for.
                "ENCODER_TEXT_CACHE_MB": "0",
            }
            compared = quantizations if pair in pairs else ()
            say(f"{name}, {label}: starting its services")
            with processes.service("encoder", ["--model", str(model)], folder, settings) as encoder:
                made = await _precision_rows(
                    source, asking, compared, efs, encoder, folder, name, label, reference
                )
            reference = reference or made[0]
            rows += made
    return rows


async def _precision_rows(
    source: Source,
    asking: Asking,
    quantizations: Sequence[Quantization],
    efs: Sequence[int],
    encoder: processes.Running,
    folder: Path,
    model: str,
    precision: str,
    reference: Row | None,
) -> list[Row]:
    """The rows of a model in one precision: of its vectors as they are, and of copies, each compressed."""
    rows: list[Row] = []

    async def measure(client: AsyncClient, search: processes.Running, efs: Sequence[int]) -> None:
        await _until_indexed(client)
        rows.extend(
            await evaluate(
                client,
                COLLECTION,
                asking,
                efs=efs,
                label=model,
                precision=precision,
                reference=reference or (rows[0] if rows else None),
                memory=partial(processes.memory_bytes, encoder, search),
            )
        )

    async with _search(encoder, folder, "none") as (first, client):
        report = await index_source(source, COLLECTION, first.address)
        if not report.indexed:
            raise Problem(f"nothing was indexed: {report.failed:,} of {report.total:,} failed")
        if report.failed:
            say(f"{report.failed:,} of {report.total:,} could not be indexed and are left out")
        plain_too = "none" in quantizations
        if plain_too or reference is None:
            await measure(client, first, efs if plain_too else ())
        fingerprint = (await client.get_collection(COLLECTION)).fingerprint
        for quantization in [one for one in quantizations if one != "none"]:
            async with _search(encoder, folder, quantization) as (other, copy):
                list_page = partial(client.list_page, COLLECTION, with_vectors=True)
                async for page in Retrying().pages(list_page):
                    points = [point.to_point() for point in page.points]
                    for result in await copy.upsert(COLLECTION, points, fingerprint=fingerprint):
                        if result.error is not None:
                            raise result.error
                await measure(copy, other, efs)
    return rows


@asynccontextmanager
async def _search(
    encoder: processes.Running, folder: Path, quantization: Quantization
) -> AsyncIterator[tuple[processes.Running, AsyncClient]]:
    """A search service with the collection, still empty, and its client."""
    folder /= quantization
    arguments = ["--encoder", encoder.address, "--data-dir", str(folder / "data")]
    with processes.service("search", arguments, folder, _SEARCH) as search:
        async with AsyncClient(search.address, timeout=_TIMEOUT_S) as client:
            await client.create_collection(
                COLLECTION, quantization=quantization, hnsw_full_scan_threshold_kb=_FULL_SCAN_KB
            )
            yield search, client


async def _until_indexed(client: AsyncClient) -> None:
    """Until no more vectors are left without an index than are worth one. Raises Problem."""
    end = time.monotonic() + _INDEX_S
    while True:
        there = await client.get_collection(COLLECTION)
        if (there.image_vectors + there.text_vectors) * (1 - there.indexed_share) < _INDEXED_FROM:
            return
        if time.monotonic() > end:
            raise Problem(
                f"the index of {there.points:,} points was not built in {_INDEX_S / 60:.0f} minutes"
            )
        await asyncio.sleep(_POLL_S)


def _precisions(model: Path, asked: Sequence[str]) -> tuple[str, Pair, list[Pair]]:
    """A bundle's name, the precisions to compare with, and those to compare.

    A tower that lacks a precision runs in the bundle's choice. Raises Problem where both do, and BundleError.
    """
    from encoder_service.bundle import read_manifest

    manifest = read_manifest(model)
    chosen = (manifest.preferred_cpu["image"], manifest.preferred_cpu["text"])

    def pair(precision: str) -> Pair:
        image, text = (precision in manifest.precisions[tower] for tower in ("image", "text"))
        return (precision if image else chosen[0], precision if text else chosen[1])

    for one in asked:
        if not any(one in there for there in manifest.precisions.values()):
            raise Problem(f"{model} has no {one} graphs; export it with --precision fp32,{one}")
    return manifest.name, pair("fp32"), [pair(one) for one in asked] or [chosen]
