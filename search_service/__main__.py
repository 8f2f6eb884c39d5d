"""Starts the search service: settings, then its parts, then the server."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from clipsearch.channel.connection import AddressError
from clipsearch.channel.credentials import ClientTls, CredentialsError
from clipsearch.search.v1 import collection_pb2_grpc, search_pb2_grpc
from clipsearch.serving.lifecycle import Process, serve
from clipsearch.serving.service import Service, StartError
from clipsearch.serving.settings import SettingsError, load_settings
from clipsearch.serving.telemetry.log import configure_logging
from clipsearch.serving.telemetry.tracing import Tracing
from search_service.api import collections_servicer, servicer
from search_service.breaker import Breaker
from search_service.collections import Collections
from search_service.encoder.client import EncoderClient
from search_service.encoder.encoders import Encoders
from search_service.metrics import SearchMetrics
from search_service.query.calibration_cache import CalibrationCache
from search_service.query.groups import Groups
from search_service.query.points import PointReads
from search_service.query.search import Search
from search_service.settings import SearchSettings
from search_service.stores.edge.indexing import MaintenancePolicy
from search_service.stores.edge.store import QdrantEdge
from search_service.stores.protocol import VectorStore
from search_service.stores.tenant import for_callers
from search_service.write.points import PointWrites
from search_service.write.successors import Successors
from search_service.write.upsert import Upsert


def run(settings: SearchSettings) -> None:
    """Serves until SIGTERM or SIGINT. Raises StartError with one line for the operator.

    The encoder need not be there: what needs none works without it.
    """
    configure_logging(settings.log_level, settings.log_format, "search")
    asyncio.run(serve(settings, "search", partial(_open, settings)))


def services(
    store: VectorStore,
    calibrations: CalibrationCache,
    settings: SearchSettings,
    encoder: EncoderClient,
    second: EncoderClient | None = None,
) -> list[Service]:
    """Both services over one store and one encoder, or two while collections move to another model.

    Collections are ready as long as the store answers, searches as long as the first encoder does too.
    """
    encoders = Encoders(encoder, second)
    reached = for_callers(store)
    successors = Successors(reached)

    async def both() -> None:
        pings = [store.ping(), encoder.ping(), *([second.ping()] if second is not None else [])]
        for outcome in (await asyncio.gather(*pings, return_exceptions=True))[:2]:
            if outcome is not None:  # of the second only its breaker takes notice
                raise outcome

    search = Search(reached, encoders, calibrations)
    points = servicer.SearchServicer(
        search,
        Groups(reached, search),
        Upsert(reached, encoders, successors, calibrations),
        PointReads(reached),
        PointWrites(reached, successors, calibrations),
        settings,
    )
    collections = collections_servicer.CollectionServicer(Collections(reached, encoders, successors))
    return [
        Service(
            servicer.SERVICE_NAME,
            lambda server: search_pb2_grpc.add_SearchServiceServicer_to_server(points, server),
            both,
            settings.unready_after_s,
        ),
        Service(
            collections_servicer.SERVICE_NAME,
            lambda server: collection_pb2_grpc.add_CollectionServiceServicer_to_server(collections, server),
            store.ping,
            settings.unready_after_s,
        ),
    ]


@asynccontextmanager
async def _open(settings: SearchSettings, process: Process) -> AsyncIterator[Sequence[Service]]:
    """The services, their store open and their encoder's channel made."""
    async with AsyncExitStack() as stack:
        store = await _open_store(settings)
        stack.push_async_callback(store.close)
        measured = SearchMetrics(process.metrics.registry)
        encoders: list[EncoderClient] = []
        for name, address in (("encoder", settings.encoder), ("second_encoder", settings.second_encoder)):
            if address:
                client = _connect(address, settings, process.traces)
                stack.push_async_callback(client.close)
                if settings.encoder_tls:
                    stack.callback(asyncio.create_task(client.watch()).cancel)
                breaker = Breaker("encoder", partial(measured.up, name))
                encoders.append(breaker.guarded(client, measured.timer(name)))
        watch = asyncio.create_task(measured.watch_collections(store))
        stack.callback(watch.cancel)
        store = Breaker("store", partial(measured.up, "store")).guarded(store, measured.timer("store"))
        calibrations = CalibrationCache(store)
        stack.push_async_callback(calibrations.close)
        yield services(store, calibrations, settings, *encoders)


def _connect(address: str, settings: SearchSettings, traces: Tracing) -> EncoderClient:
    token = settings.encoder_token
    try:
        return EncoderClient(
            address,
            settings.encoder_timeout_s,
            traces.client,
            token.get_secret_value() if token is not None else None,
            ClientTls(*settings.tls("encoder")) if settings.encoder_tls else None,
        )
    except (AddressError, CredentialsError) as error:
        raise StartError(f"cannot connect to the encoder: {error}") from None


async def _open_store(settings: SearchSettings) -> VectorStore:
    """A Qdrant server if its URL is set, else Qdrant Edge in the data directory."""
    if not settings.qdrant_url:
        maintenance = MaintenancePolicy(
            index_threshold=settings.index_threshold,
            quiet_s=settings.index_quiet_s,
            busy_s=settings.index_busy_s,
        )
        try:
            return await QdrantEdge.open(settings.data_dir, maintenance, settings.store_timeout_s)
        except OSError as error:
            raise StartError(
                f"cannot use the data directory {settings.data_dir}: {error.strerror}"
            ) from error
    # Here, because qdrant-client takes longer to load than the rest of the service together: a
    # service that is killed is away for as long as it takes to start.
    from search_service.stores.qdrant.store import QdrantServer

    key = settings.qdrant_api_key
    try:
        return QdrantServer.connect(
            settings.qdrant_url,
            key.get_secret_value() if key is not None else None,
            timeout=settings.store_timeout_s,
            tls=ClientTls(*settings.tls("qdrant")),
            grpc_port=settings.qdrant_grpc_port,
            channels=settings.qdrant_channels,
            ordering=settings.qdrant_ordering,
            consistency=settings.qdrant_consistency,
        )
    except CredentialsError as error:
        raise StartError(f"cannot connect to Qdrant: {error}") from None


def main() -> None:
    """`python -m search_service`: settings from SEARCH_ variables; flags are the CLI's part."""
    argparse.ArgumentParser(
        prog="python -m search_service",
        description="Serves searches over a Qdrant store. Set by SEARCH_ variables, which `clipsearch config "
        "search --table` lists; `clipsearch serve search` takes them as flags too.",
    ).parse_args()
    try:
        run(load_settings(SearchSettings))
    except (SettingsError, StartError) as error:
        sys.exit(f"search: {error}")


if __name__ == "__main__":
    main()
