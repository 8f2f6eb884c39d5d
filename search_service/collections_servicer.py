# ruff: noqa: N802 - the methods have the names of the RPCs
"""The gRPC face of collections: proto in, domain, proto out; nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc

from clipsearch.search.v1 import collection_pb2 as pb
from clipsearch.search.v1 import collection_pb2_grpc
from clipsearch.serving.errors import InvalidArgument
from search_service.collections import Collections
from search_service.deadline import Deadline
from search_service.keys import check_key
from search_service.stores.protocol import CollectionInfo, CollectionSpec, IndexType, Quantization

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["CollectionService"].full_name

_INDEX_TYPES: dict[IndexType, pb.PayloadIndexType.ValueType] = {
    "keyword": pb.PAYLOAD_INDEX_TYPE_KEYWORD,
    "integer": pb.PAYLOAD_INDEX_TYPE_INTEGER,
    "float": pb.PAYLOAD_INDEX_TYPE_FLOAT,
    "bool": pb.PAYLOAD_INDEX_TYPE_BOOL,
    "datetime": pb.PAYLOAD_INDEX_TYPE_DATETIME,
    "text": pb.PAYLOAD_INDEX_TYPE_TEXT,
}
_QUANTIZATIONS: dict[Quantization, pb.Quantization.ValueType] = {
    "none": pb.QUANTIZATION_NONE,
    "scalar": pb.QUANTIZATION_SCALAR,
    "binary": pb.QUANTIZATION_BINARY,
}
_READ_INDEX_TYPES = {number: name for name, number in _INDEX_TYPES.items()}
_READ_QUANTIZATIONS: dict[int, Quantization] = {
    pb.QUANTIZATION_UNSPECIFIED: "none",
    **{number: name for name, number in _QUANTIZATIONS.items()},
}

Context = grpc.aio.ServicerContext[Any, Any]


class CollectionServicer(collection_pb2_grpc.CollectionServiceServicer):
    """Answers CollectionService."""

    def __init__(self, collections: Collections) -> None:
        self._collections = collections

    async def CreateCollection(
        self, request: pb.CreateCollectionRequest, context: Context
    ) -> pb.CreateCollectionResponse:
        """Creates a collection."""
        info = await self._collections.create(_read_spec(request), _deadline(context))
        return pb.CreateCollectionResponse(collection=_write(info))

    async def GetCollection(
        self, request: pb.GetCollectionRequest, context: Context
    ) -> pb.GetCollectionResponse:
        """Describes a collection."""
        info = await self._collections.get(request.name, _deadline(context))
        return pb.GetCollectionResponse(collection=_write(info))

    async def ListCollections(
        self, request: pb.ListCollectionsRequest, context: Context
    ) -> pb.ListCollectionsResponse:
        """Lists all collections."""
        infos = await self._collections.all(_deadline(context))
        return pb.ListCollectionsResponse(collections=[_write(info) for info in infos])

    async def DeleteCollection(
        self, request: pb.DeleteCollectionRequest, context: Context
    ) -> pb.DeleteCollectionResponse:
        """Deletes a collection."""
        await self._collections.delete(request.name, _deadline(context))
        return pb.DeleteCollectionResponse()

    async def UpdateAlias(self, request: pb.UpdateAliasRequest, context: Context) -> pb.UpdateAliasResponse:
        """Sets or removes an alias."""
        previous = await self._collections.set_alias(request.alias, request.collection, _deadline(context))
        return pb.UpdateAliasResponse(previous_collection=previous)

    async def SetSuccessor(
        self, request: pb.SetSuccessorRequest, context: Context
    ) -> pb.SetSuccessorResponse:
        """Sets or removes the collection that gets every write too."""
        previous, settles_s = await self._collections.set_successor(
            request.collection, request.successor, _deadline(context)
        )
        return pb.SetSuccessorResponse(previous_successor=previous, settles_after_s=settles_s)

    async def CreatePayloadIndex(
        self, request: pb.CreatePayloadIndexRequest, context: Context
    ) -> pb.CreatePayloadIndexResponse:
        """Adds a payload index."""
        key, type = _read_index(request.index, "index")
        await self._collections.create_payload_index(request.collection, key, type, _deadline(context))
        return pb.CreatePayloadIndexResponse()


def _deadline(context: Context) -> Deadline:
    return Deadline.after(context.time_remaining())


def _read_spec(request: pb.CreateCollectionRequest) -> CollectionSpec:
    if request.quantization not in _READ_QUANTIZATIONS:
        raise InvalidArgument("quantization", f"{request.quantization} is none of this API's quantizations")
    return CollectionSpec(
        name=request.name,
        dimension=request.dimension,
        fingerprint=request.fingerprint,
        model=request.model,
        payload_indexes=_read_indexes(request.payload_indexes),
        hnsw_m=request.hnsw.m,
        hnsw_ef_construct=request.hnsw.ef_construct,
        quantization=_READ_QUANTIZATIONS[request.quantization],
        on_disk_vectors=request.on_disk_vectors,
        shard_number=request.shard_number or 1,
        replication_factor=request.replication_factor or 1,
        write_consistency_factor=request.write_consistency_factor or 1,
    )


def _read_indexes(protos: Sequence[pb.PayloadIndex]) -> dict[str, IndexType]:
    indexes: dict[str, IndexType] = {}
    for i, proto in enumerate(protos):
        key, type = _read_index(proto, f"payload_indexes[{i}]")
        if key in indexes:
            raise InvalidArgument(f"payload_indexes[{i}].field", f"{key!r} is given twice", "INDEX_REPEATED")
        indexes[key] = type
    return indexes


def _read_index(proto: pb.PayloadIndex, field: str) -> tuple[str, IndexType]:
    key = check_key(proto.field, f"{field}.field")
    if proto.type not in _READ_INDEX_TYPES:
        types = ", ".join(_INDEX_TYPES)
        raise InvalidArgument(f"{field}.type", f"{proto.type} is no type of index; there are {types}")
    return key, _READ_INDEX_TYPES[proto.type]


def _write(info: CollectionInfo) -> pb.Collection:
    spec = info.spec
    return pb.Collection(
        name=spec.name,
        fingerprint=spec.fingerprint,
        model=spec.model,
        dimension=spec.dimension,
        points=info.points,
        image_vectors=info.image_vectors,
        text_vectors=info.text_vectors,
        indexed_share=info.indexed_share,
        disk_bytes=info.disk_bytes,
        aliases=sorted(info.aliases),
        payload_indexes=[
            pb.PayloadIndex(field=key, type=_INDEX_TYPES[type])
            for key, type in sorted(spec.payload_indexes.items())
        ],
        hnsw=pb.HnswConfig(m=spec.hnsw_m, ef_construct=spec.hnsw_ef_construct),
        quantization=_QUANTIZATIONS[spec.quantization],
        on_disk_vectors=spec.on_disk_vectors,
        shard_number=spec.shard_number,
        replication_factor=spec.replication_factor,
        write_consistency_factor=spec.write_consistency_factor,
        successor=spec.successor,
    )
