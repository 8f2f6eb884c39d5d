"""Opens the store that the settings name: a Qdrant server, or Qdrant Edge in this process."""

from __future__ import annotations

from pathlib import Path

from search_service.stores.edge import QdrantEdge
from search_service.stores.protocol import VectorStore
from search_service.stores.server import QdrantServer


async def open_store(
    *, qdrant_url: str, qdrant_api_key: str | None, data_dir: Path, timeout: float
) -> VectorStore:
    """A Qdrant server if `qdrant_url` is set, else Qdrant Edge in `data_dir`.

    `timeout` is the longest that one call to a server may take, in seconds. Raises
    StoreInUseError if another process has `data_dir` open.
    """
    if qdrant_url:
        return QdrantServer.connect(qdrant_url, qdrant_api_key, timeout=timeout)
    return await QdrantEdge.open(data_dir)
