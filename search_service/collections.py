"""Collections: created for one model, described, deleted, and reached by alias."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from clipsearch.serving.errors import CollectionDamaged, InvalidArgument
from search_service.encoder.encoders import Encoders
from search_service.stores.collection import (
    CollectionInfo,
    CollectionSpec,
    Optimizers,
    PayloadIndex,
    QuantizationParams,
)
from search_service.stores.protocol import VectorStore
from search_service.write.successors import Successors, on_each

_MAX_DIMENSION = 65_535
_MAX_FINGERPRINT = 256
_HNSW = {
    "m": range(4, 257),
    "ef_construct": range(4, 4097),
    "full_scan_threshold_kb": range(10, 100_000_001),
}
_COMPRESSIONS = (4, 8, 16, 32, 64)
_TURBO_BITS = (1.0, 1.5, 2.0, 4.0, 8.0)
# A server would try to make millions of them.
_MAX_SHARDS = 1024
_MAX_REPLICAS = 64
_VACUUM_LEAST = 100  # Qdrant's


class Collections:
    """Manages collections."""

    def __init__(self, store: VectorStore, encoders: Encoders, successors: Successors) -> None:
        self._store = store
        self._encoders = encoders
        self._successors = successors

    async def create(self, spec: CollectionSpec) -> CollectionInfo:
        """Creates a collection; with dimension 0 and fingerprint "" it is one for an encoder's model.

        That is the one that `spec.model` names, by name or fingerprint; "" = the first encoder's. With a
        dimension no encoder is asked, and `spec.model` is what the model is called.

        Raises InvalidArgument, AlreadyExists and what the encoder and the store raise.
        """
        _check_spec(spec)
        if not spec.dimension:
            model = await self._encoders.model(spec.model)
            spec = dataclasses.replace(
                spec, dimension=model.dimension, fingerprint=model.fingerprint, model=model.name
            )
        await self._store.create_collection(spec)
        return await self._store.get_collection(spec.name)

    async def update(
        self, name: str, changes_of: Callable[[CollectionSpec], Mapping[str, Any]]
    ) -> CollectionInfo:
        """Changes settings of a collection, by name or alias, as `changes_of` says from those that it has.

        Raises NotFound, InvalidArgument, and FailedPrecondition for what the engine cannot change.
        """
        spec = await self._store.resolve(name)
        changes = changes_of(spec)
        _check_spec(dataclasses.replace(spec, model="", **changes))
        await self._store.update_collection(spec.name, changes)
        return await self._store.get_collection(spec.name)

    async def get(self, name: str) -> CollectionInfo:
        """Describes the collection of that name or alias. Raises NotFound."""
        spec = await self._store.resolve(name)
        return await self._store.get_collection(spec.name)

    async def all(self) -> list[CollectionInfo]:
        """All collections, by name."""
        return await self._store.list_collections()

    async def delete(self, name: str) -> None:
        """Deletes a collection, damaged or not, and its aliases.

        Raises NotFound, InvalidArgument for an alias.
        """
        try:
            await self._require_own_name(name, "name")
        except CollectionDamaged as error:
            if error.collection != name:
                raise
        await self._store.delete_collection(name)

    async def set_alias(self, alias: str, collection: str) -> str:
        """Points `alias` at a collection ("" removes it); returns where it pointed ("" = nowhere).

        Raises InvalidArgument, NotFound for an unknown collection, AlreadyExists if a collection
        has the alias's name.
        """
        if collection:
            await self._require_own_name(collection, "collection")
        return await self._store.set_alias(alias, collection or None)

    async def create_payload_index(self, collection: str, key: str, index: PayloadIndex) -> None:
        """Adds a payload index, to the successor too.

        Raises NotFound; FailedPrecondition if there is another one.
        """
        await on_each(
            await self._successors.chain(collection),
            lambda one: self._store.create_payload_index(one.name, key, index),
        )

    async def delete_payload_index(self, collection: str, key: str) -> None:
        """Removes the payload index of a field, of the successor too. Raises NotFound for the collection."""
        await on_each(
            await self._successors.chain(collection),
            lambda one: self._store.delete_payload_index(one.name, key),
        )

    async def set_successor(self, collection: str, successor: str) -> tuple[str, float]:
        """Makes `successor` get what is written to the collection ("" = nothing does any more).

        Returns the successor before ("" = none), and the seconds until other replicas of the service
        are sure to know. Raises NotFound; InvalidArgument for an alias, and for the collection itself.
        """
        before = await self._require_own_name(collection, "collection")
        if successor:
            await self._require_own_name(successor, "successor")
        if successor == collection:
            raise InvalidArgument("successor", f"{successor!r} is the collection itself")
        settles_s = await self._store.set_successor(collection, successor)
        return before.successor, settles_s

    async def _require_own_name(self, name: str, field: str) -> CollectionSpec:
        spec = await self._store.resolve(name)
        if spec.name != name:
            raise InvalidArgument(
                field,
                f"{name!r} is an alias of {spec.name!r}; name the collection itself",
                "ALIAS_NOT_COLLECTION",
                {"collection": spec.name},
            )
        return spec


def _check_spec(spec: CollectionSpec) -> None:
    """Raises InvalidArgument for settings that no store would take."""
    if bool(spec.dimension) != bool(spec.fingerprint):
        raise InvalidArgument(
            "fingerprint" if spec.dimension else "dimension",
            "missing; dimension and fingerprint are set together (for ready vectors) or not at all",
        )
    if spec.dimension > _MAX_DIMENSION:
        raise InvalidArgument("dimension", f"{spec.dimension}, at most {_MAX_DIMENSION}")
    if len(spec.fingerprint) > _MAX_FINGERPRINT:
        raise InvalidArgument(
            "fingerprint", f"{len(spec.fingerprint)} characters, at most {_MAX_FINGERPRINT}"
        )
    for name, allowed in _HNSW.items():
        value = getattr(spec, f"hnsw_{name}")
        if value and value not in allowed:
            raise InvalidArgument(
                f"hnsw.{name}",
                f"{value}; {allowed.start} to {allowed.stop - 1}, or 0 for the engine's default",
            )
    _check_quantization(spec.quantization_params)
    _check_optimizers(spec.optimizers)
    if spec.shard_number > _MAX_SHARDS:
        raise InvalidArgument("shard_number", f"{spec.shard_number}, at most {_MAX_SHARDS}")
    if spec.replication_factor > _MAX_REPLICAS:
        raise InvalidArgument("replication_factor", f"{spec.replication_factor}, at most {_MAX_REPLICAS}")
    if spec.replication_factor and spec.write_consistency_factor > spec.replication_factor:
        raise InvalidArgument(
            "write_consistency_factor",
            f"{spec.write_consistency_factor} replicas must acknowledge, there are {spec.replication_factor}",
        )


def _check_optimizers(optimizers: Optimizers) -> None:
    for name, least, most in (
        ("deleted_threshold", 0, 1),
        ("vacuum_min_vector_number", _VACUUM_LEAST, None),
        ("max_segment_size_kb", 1, None),
    ):
        value = getattr(optimizers, name)
        if value is not None and not (
            least <= value and (most is None or value <= most)
        ):  # NaN is not either
            allowed = f"at least {least}" if most is None else f"{least} to {most}"
            raise InvalidArgument(f"optimizers.{name}", f"{value:g}; {allowed}")


def _check_quantization(params: QuantizationParams) -> None:
    if params.quantile and not 0.5 <= params.quantile <= 1:  # NaN is not either
        raise InvalidArgument(
            "quantization_params.quantile", f"{params.quantile}; 0.5 to 1, or 0 for the engine's default"
        )
    for name, value, choices in (
        ("compression", params.compression, _COMPRESSIONS),
        ("bits", params.bits, _TURBO_BITS),
    ):
        if value and value not in choices:
            raise InvalidArgument(
                f"quantization_params.{name}", f"{value:g} is none of {', '.join(f'{c:g}' for c in choices)}"
            )
