# ruff: noqa: N802 - the methods have the names of the RPCs
"""The gRPC face of collections: proto in, domain, proto out; nothing else."""

from __future__ import annotations

from typing import Any

import grpc

from clipsearch.search.v1 import collection_pb2 as pb
from clipsearch.search.v1 import collection_pb2_grpc
from search_service.api.collection_proto import read_changes, read_index, read_spec, write_collection
from search_service.api.point_proto import check_path
from search_service.collections import Collections

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["CollectionService"].full_name

Context = grpc.aio.ServicerContext[Any, Any]


class CollectionServicer(collection_pb2_grpc.CollectionServiceServicer):
    """Answers CollectionService."""

    def __init__(self, collections: Collections) -> None:
        self._collections = collections

    async def CreateCollection(
        self, request: pb.CreateCollectionRequest, context: Context
    ) -> pb.CreateCollectionResponse:
        """Creates a collection."""
        info = await self._collections.create(read_spec(request))
        return pb.CreateCollectionResponse(collection=write_collection(info))

    async def GetCollection(
        self, request: pb.GetCollectionRequest, context: Context
    ) -> pb.GetCollectionResponse:
        """Describes a collection."""
        info = await self._collections.get(request.name)
        return pb.GetCollectionResponse(collection=write_collection(info))

    async def UpdateCollection(
        self, request: pb.UpdateCollectionRequest, context: Context
    ) -> pb.UpdateCollectionResponse:
        """Changes settings of a collection."""
        info = await self._collections.update(request.name, lambda spec: read_changes(request, spec))
        return pb.UpdateCollectionResponse(collection=write_collection(info))

    async def ListCollections(
        self, request: pb.ListCollectionsRequest, context: Context
    ) -> pb.ListCollectionsResponse:
        """Lists all collections."""
        infos = await self._collections.all()
        return pb.ListCollectionsResponse(collections=[write_collection(info) for info in infos])

    async def DeleteCollection(
        self, request: pb.DeleteCollectionRequest, context: Context
    ) -> pb.DeleteCollectionResponse:
        """Deletes a collection."""
        await self._collections.delete(request.name)
        return pb.DeleteCollectionResponse()

    async def UpdateAlias(self, request: pb.UpdateAliasRequest, context: Context) -> pb.UpdateAliasResponse:
        """Sets or removes an alias."""
        previous = await self._collections.set_alias(request.alias, request.collection)
        return pb.UpdateAliasResponse(previous_collection=previous)

    async def SetSuccessor(
        self, request: pb.SetSuccessorRequest, context: Context
    ) -> pb.SetSuccessorResponse:
        """Sets or removes the collection that gets every write too."""
        previous, settles_s = await self._collections.set_successor(request.collection, request.successor)
        return pb.SetSuccessorResponse(previous_successor=previous, settles_after_s=settles_s)

    async def CreatePayloadIndex(
        self, request: pb.CreatePayloadIndexRequest, context: Context
    ) -> pb.CreatePayloadIndexResponse:
        """Adds a payload index."""
        key, index = read_index(request.index, "index")
        await self._collections.create_payload_index(request.collection, key, index)
        return pb.CreatePayloadIndexResponse()

    async def DeletePayloadIndex(
        self, request: pb.DeletePayloadIndexRequest, context: Context
    ) -> pb.DeletePayloadIndexResponse:
        """Removes a payload index."""
        key = check_path(request.field, "field")
        await self._collections.delete_payload_index(request.collection, key)
        return pb.DeletePayloadIndexResponse()
