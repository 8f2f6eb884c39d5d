"""The collections on a Qdrant server as they stand."""

from __future__ import annotations

from collections.abc import Mapping

from qdrant_client import AsyncQdrantClient, models

from search_service.stores.protocol import SIDES, CollectionInfo, CollectionSpec
from search_service.stores.server_spec import read_spec


async def our_specs(client: AsyncQdrantClient) -> list[CollectionSpec]:
    """The settings of all collections that clipsearch made, by name. Raises what the client does."""
    names = sorted(found.name for found in (await client.get_collections()).collections)
    specs = [read_spec(await client.get_collection(name)) for name in names]
    return [spec for spec in specs if spec is not None]


async def describe(
    client: AsyncQdrantClient, spec: CollectionSpec, aliases: Mapping[str, str]
) -> CollectionInfo:
    """Counts exactly. `aliases` are all of the server's, by alias. Raises what the client does."""
    described = await client.get_collection(spec.name)
    points = await client.count(spec.name, exact=True)
    counts = {}
    for side in SIDES:
        has = models.Filter(must=[models.HasVectorCondition(has_vector=side)])
        counts[side] = (await client.count(spec.name, has, exact=True)).count
    total = sum(counts.values())
    indexed = described.indexed_vectors_count or 0
    return CollectionInfo(
        spec=spec,
        points=points.count,
        image_vectors=counts["image"],
        text_vectors=counts["text"],
        indexed_share=min(1.0, indexed / total) if total else 0.0,
        disk_bytes=0,  # the server does not tell
        aliases=tuple(sorted(alias for alias, name in aliases.items() if name == spec.name)),
    )
