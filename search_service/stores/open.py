"""Opens the store that the settings name: a Qdrant server, or Qdrant Edge on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from clipsearch.channel.credentials import ClientTls
from search_service.stores.edge.live import Upkeep
from search_service.stores.edge.store import QdrantEdge
from search_service.stores.protocol import VectorStore

if TYPE_CHECKING:
    from search_service.stores.qdrant.store import Consistency, Ordering


async def open_store(
    *,
    qdrant_url: str,
    qdrant_api_key: str | None,
    qdrant_tls: ClientTls,
    qdrant_grpc_port: int,
    qdrant_channels: int,
    data_dir: Path,
    upkeep: Upkeep,
    timeout: float,
    ordering: Ordering = "weak",
    consistency: Consistency = "one",
) -> VectorStore:
    """A Qdrant server if `qdrant_url` is set, else Qdrant Edge in `data_dir`, which looks after its indexes.

    `timeout` is the longest that one call to a server may take, in seconds; `ordering` of writes and
    `consistency` of reads are for a cluster with replicas. Raises StoreInUseError if another process
    has `data_dir` open, CredentialsError if a file of `qdrant_tls` is not usable.
    """
    if qdrant_url:
        # Here, because qdrant-client takes longer to load than the rest of the service together: a
        # service that is killed is away for as long as it takes to start.
        from search_service.stores.qdrant.store import QdrantServer

        return QdrantServer.connect(
            qdrant_url,
            qdrant_api_key,
            timeout=timeout,
            tls=qdrant_tls,
            grpc_port=qdrant_grpc_port,
            channels=qdrant_channels,
            ordering=ordering,
            consistency=consistency,
        )
    return await QdrantEdge.open(data_dir, upkeep)
