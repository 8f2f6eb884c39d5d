"""Services of an evaluation's own: for each model, precision and compression, as long as it is asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from clipsearch.cli import processes
from clipsearch.cli.output import say
from clipsearch.cli.problems import Problem

if TYPE_CHECKING:
    from clipsearch.client.aio import AsyncClient
    from clipsearch.client.inputs import Quantization
    from clipsearch.client.types import Collection
    from clipsearch.eval.run import Asking, Row
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


@dataclass(frozen=True, slots=True)
class Compared:
    """What to compare: bundles, precisions (none = each bundle's choice), compressions, beams."""

    models: Sequence[Path]
    precisions: Sequence[str]
    quantizations: Sequence[Quantization]
    efs: Sequence[int]


async def own_rows(source: Source, compared: Compared, asking: Asking, scratch: Path) -> list[Row]:
    """The rows of every model; each is compared with its exact search in fp32, where the bundle has that.

    Raises Problem, SourceError, OSError and ClipSearchError.
    """
    rows: list[Row] = []
    for number, model in enumerate(compared.models):
        name, reference_pair, pairs = _precisions(model, compared.precisions)
        reference: Row | None = None
        for pair in dict.fromkeys([reference_pair, *pairs]):
            folder = scratch / f"{number}-{pair[0]}-{pair[1]}"
            say(f"{name}, {_label(pair)}: starting its services")
            with _encoder(model, pair, folder) as encoder:
                made = await _precision_rows(
                    source,
                    compared if pair in pairs else Compared((), (), (), ()),
                    asking,
                    encoder,
                    folder,
                    (name, _label(pair)),
                    reference,
                )
            reference = reference or made[0]
            rows += made
    return rows


async def _precision_rows(
    source: Source,
    compared: Compared,
    asking: Asking,
    encoder: processes.Running,
    folder: Path,
    names: tuple[str, str],
    reference: Row | None,
) -> list[Row]:
    """The rows of a model in one precision."""
    from clipsearch.cli.index_run import index_source
    from clipsearch.client.aio import AsyncClient
    from clipsearch.client.retrying import Retrying
    from clipsearch.eval.run import evaluate

    rows: list[Row] = []

    async def ask(client: AsyncClient, search: processes.Running, efs: Sequence[int]) -> None:
        await _until_indexed(client)
        rows.extend(
            await evaluate(
                client,
                COLLECTION,
                asking,
                efs=efs,
                exact=reference is None and not rows,
                label=names[0],
                precision=names[1],
                reference=reference or (rows[0] if rows else None),
                memory=lambda: _sum(encoder.memory_bytes(), search.memory_bytes()),
            )
        )

    with _search(encoder, folder / "none") as first:
        async with AsyncClient(first.address, timeout=_TIMEOUT_S) as client:
            await _make(client, "none")
            report = await index_source(source, COLLECTION, first.address)
            if not report.indexed:
                raise Problem(f"nothing was indexed: {report.failed:,} of {report.total:,} failed")
            if report.failed:
                say(f"{report.failed:,} of {report.total:,} could not be indexed and are left out")
            plain_too = "none" in compared.quantizations
            if plain_too or reference is None:
                await ask(client, first, compared.efs if plain_too else ())
            for quantization in [one for one in compared.quantizations if one != "none"]:
                with _search(encoder, folder / quantization) as other:
                    async with AsyncClient(other.address, timeout=_TIMEOUT_S) as copy:
                        made = await _make(copy, quantization)
                        stored = Retrying(_TIMEOUT_S).pages(
                            partial(client.list_page, COLLECTION, with_vectors=True)
                        )
                        async for page in stored:
                            points = [point.to_point() for point in page]
                            results = await copy.upsert(COLLECTION, points, fingerprint=made.fingerprint)
                            for result in results:
                                if result.error is not None:
                                    raise result.error
                        await ask(copy, other, compared.efs)
    return rows


def _encoder(model: Path, pair: Pair, folder: Path) -> AbstractContextManager[processes.Running]:
    settings = {"ENCODER_IMAGE_PRECISION": pair[0], "ENCODER_TEXT_PRECISION": pair[1]}
    # Without its cache a text takes its time each time that it is asked for.
    settings["ENCODER_TEXT_CACHE_MB"] = "0"
    return processes.service("encoder", ["--model", str(model)], folder, settings)


def _search(encoder: processes.Running, folder: Path) -> AbstractContextManager[processes.Running]:
    arguments = ["--encoder", encoder.address, "--data-dir", str(folder / "data")]
    return processes.service("search", arguments, folder, _SEARCH)


async def _make(client: AsyncClient, quantization: Quantization) -> Collection:
    return await client.create_collection(
        COLLECTION, quantization=quantization, hnsw_full_scan_threshold_kb=_FULL_SCAN_KB
    )


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

    A tower that lacks a precision runs in the bundle's choice. Raises Problem where both lack it.
    """
    from encoder_service.bundle import BundleError, Precision, read_manifest

    try:
        manifest = read_manifest(model)
    except BundleError as error:
        raise Problem(str(error)) from None
    known = get_args(Precision)
    chosen = (manifest.preferred_cpu["image"], manifest.preferred_cpu["text"])

    def pair(precision: str) -> Pair:
        image, text = (precision in manifest.precisions[tower] for tower in ("image", "text"))
        return (precision if image else chosen[0], precision if text else chosen[1])

    for one in asked:
        if one not in known:
            raise Problem(f"--precision {one}: there are {', '.join(known)}")
        if not any(one in there for there in manifest.precisions.values()):
            raise Problem(f"{model} has no {one} graphs; export it with --precision fp32,{one}")
    return manifest.name, pair("fp32"), [pair(one) for one in asked] or [chosen]


def _label(pair: Pair) -> str:
    return pair[0] if pair[0] == pair[1] else "/".join(pair)


def _sum(*sizes: int | None) -> int | None:
    there = [size for size in sizes if size is not None]
    return sum(there) if len(there) == len(sizes) else None
