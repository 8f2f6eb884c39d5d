# ruff: noqa: N802 - the methods have the names of the RPCs
"""The gRPC face of points and searches: proto in, domain, proto out; nothing else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial, wraps
from typing import Any, TypeVar, cast

import grpc
from google.rpc import status_pb2

from clipsearch.search.v1 import search_pb2 as pb
from clipsearch.search.v1 import search_pb2_grpc
from clipsearch.serving.errors import InvalidArgument, NotFound, ServiceError, to_status
from search_service.api.filter_proto import read_filter
from search_service.api.point_proto import (
    check_count,
    check_format,
    check_ids,
    check_merged,
    check_path,
    read_change,
    read_names,
    read_order,
    read_point,
    read_selection,
    vectors_only,
    write_point,
    write_value,
)
from search_service.api.search_proto import (
    check_limit,
    read_groups,
    read_search,
    write_answer,
    write_groups,
)
from search_service.query.groups import Groups
from search_service.query.points import PointReads
from search_service.query.search import Search
from search_service.settings import SearchSettings
from search_service.stores.filters import Filter, matches_everything
from search_service.stores.protocol import Listing
from search_service.turns import in_turns
from search_service.write.points import PointWrites
from search_service.write.upsert import Upsert, Write, WriteResult

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["SearchService"].full_name
_DEFAULT_PAGE_SIZE = 100

Rpc = TypeVar("Rpc", bound=Callable[..., Awaitable[Any]])
Context = grpc.aio.ServicerContext[Any, Any]


def again_if_moved(rpc: Rpc) -> Rpc:
    """Answers a call once more where a collection is gone that is none of those its request names.

    An alias that moved on a moment ago led there. The store looks it up anew after a NotFound.
    """

    @wraps(rpc)
    async def answer(servicer: SearchServicer, request: Any, context: Context) -> Any:
        try:
            return await rpc(servicer, request, context)
        except NotFound as error:
            searches = getattr(request, "searches", None) or [getattr(request, "search", request)]
            names = {search.collection for search in searches}
            if error.reason != "COLLECTION_NOT_FOUND" or error.metadata["collection"] in names:
                raise
            return await rpc(servicer, request, context)

    return cast(Rpc, answer)


class SearchServicer(search_pb2_grpc.SearchServiceServicer):
    """Answers SearchService, within the request limits of the settings."""

    def __init__(
        self,
        search: Search,
        groups: Groups,
        upsert: Upsert,
        reads: PointReads,
        writes: PointWrites,
        settings: SearchSettings,
    ) -> None:
        self._search = search
        self._groups = groups
        self._upsert = upsert
        self._reads = reads
        self._writes = writes
        self._settings = settings

    @again_if_moved
    async def Search(self, request: pb.SearchRequest, context: Context) -> pb.SearchResponse:
        """Finds points."""
        query = read_search(request, self._settings)
        [answer] = await self._search.search([query])
        return await write_answer(answer, request.vector_format)

    @again_if_moved
    async def SearchBatch(self, request: pb.SearchBatchRequest, context: Context) -> pb.SearchBatchResponse:
        """Several searches in one call."""
        check_count("searches", len(request.searches), self._settings.max_searches)
        queries = await in_turns(
            request.searches, lambda search, i: read_search(search, self._settings, f"searches[{i}]")
        )
        answers = await self._search.search(queries)
        return pb.SearchBatchResponse(
            results=[
                await write_answer(answer, search.vector_format)
                for answer, search in zip(answers, request.searches, strict=True)
            ]
        )

    @again_if_moved
    async def SearchGroups(
        self, request: pb.SearchGroupsRequest, context: Context
    ) -> pb.SearchGroupsResponse:
        """Finds the best points of each value of a field."""
        query = read_groups(request, self._settings)
        groups, answer = await self._groups.search(query)
        return await write_groups(groups, answer, request.search.vector_format)

    @again_if_moved
    async def Upsert(self, request: pb.UpsertRequest, context: Context) -> pb.UpsertResponse:
        """Writes points."""
        if request.update_mode not in pb.UpdateMode.values():
            raise InvalidArgument("update_mode", f"{request.update_mode} is none of this API's update modes")
        insert_only = request.update_mode == pb.UPDATE_MODE_INSERT_ONLY
        return pb.UpsertResponse(results=await self._write(request, insert_only=insert_only))

    @again_if_moved
    async def UpdateVectors(
        self, request: pb.UpdateVectorsRequest, context: Context
    ) -> pb.UpdateVectorsResponse:
        """Replaces vectors of points."""
        return pb.UpdateVectorsResponse(results=await self._write(request, only_vectors=True))

    @again_if_moved
    async def DeleteVectors(
        self, request: pb.DeleteVectorsRequest, context: Context
    ) -> pb.DeleteVectorsResponse:
        """Removes vectors of points by id or by filter."""
        selector = self._selector(request, "to change all points, name their ids")
        names = read_names(request.vectors, "vectors")
        updated = await self._writes.delete_vectors(request.collection, selector, names)
        return pb.DeleteVectorsResponse(updated=updated)

    @again_if_moved
    async def GetPoints(self, request: pb.GetPointsRequest, context: Context) -> pb.GetPointsResponse:
        """Reads points by id."""
        ids = check_ids(request.ids, "ids", self._settings)
        check_format(request.vector_format)
        points = await self._reads.get(
            request.collection,
            ids,
            payload=read_selection(request.payload),
            with_vectors=request.with_vectors,
        )
        found = {point.id for point in points}
        return pb.GetPointsResponse(
            points=await in_turns(points, lambda point, _: write_point(point, request.vector_format)),
            missing=[id for id in dict.fromkeys(ids) if id not in found],
        )

    @again_if_moved
    async def DeletePoints(
        self, request: pb.DeletePointsRequest, context: Context
    ) -> pb.DeletePointsResponse:
        """Deletes points by id or by filter."""
        selector = self._selector(request, "to delete all points, delete the collection")
        deleted = await self._writes.delete(request.collection, selector)
        return pb.DeletePointsResponse(deleted=deleted)

    @again_if_moved
    async def UpdatePayload(
        self, request: pb.UpdatePayloadRequest, context: Context
    ) -> pb.UpdatePayloadResponse:
        """Changes payloads of points by id or by filter."""
        selector = self._selector(request, "to change all points, name their ids")
        change = read_change(request, self._settings)
        updated = await self._writes.update_payload(
            request.collection, selector, change, partial(check_merged, change, self._settings)
        )
        return pb.UpdatePayloadResponse(updated=updated)

    @again_if_moved
    async def CountPoints(self, request: pb.CountPointsRequest, context: Context) -> pb.CountPointsResponse:
        """Counts points."""
        filter = read_filter(request.filter, self._settings)
        count = await self._reads.count(request.collection, filter)
        return pb.CountPointsResponse(count=count)

    @again_if_moved
    async def Facet(self, request: pb.FacetRequest, context: Context) -> pb.FacetResponse:
        """Counts the values of a field."""
        hits = await self._reads.facet(
            request.collection,
            check_path(request.key, "key"),
            limit=check_limit(request.limit, self._settings.max_limit),
            filter=read_filter(request.filter, self._settings),
            exact=request.exact,
        )
        return pb.FacetResponse(
            hits=[pb.FacetHit(value=write_value(hit.value), count=hit.count) for hit in hits]
        )

    @again_if_moved
    async def ListPoints(self, request: pb.ListPointsRequest, context: Context) -> pb.ListPointsResponse:
        """A page of points."""
        most = self._settings.max_page_size
        limit = check_limit(request.page_size or _DEFAULT_PAGE_SIZE, most, "page_size")
        check_format(request.vector_format)
        listing = Listing(
            request.collection,
            read_filter(request.filter, self._settings),
            read_selection(request.payload),
            request.with_vectors,
        )
        page = await self._reads.page(
            listing, limit=limit, cursor=request.page_token or None, order=read_order(request)
        )
        return pb.ListPointsResponse(
            points=await in_turns(page.points, lambda point, _: write_point(point, request.vector_format)),
            next_page_token=page.next_cursor or "",
        )

    async def _write(
        self,
        request: pb.UpsertRequest | pb.UpdateVectorsRequest,
        *,
        insert_only: bool = False,
        only_vectors: bool = False,
    ) -> list[pb.UpsertResult]:
        check_count("points", len(request.points), self._settings.max_points)
        points = await in_turns(
            request.points, lambda point, i: read_point(point, f"points[{i}]", self._settings)
        )
        if only_vectors:
            points = vectors_only(request.points, points)
        wait = request.wait if request.HasField("wait") else True
        write = Write(
            request.collection, points, wait, insert_only, request.fingerprint, vectors_only=only_vectors
        )
        results = await self._upsert.upsert(write)
        return [_result(point.id, one) for point, one in zip(request.points, results, strict=True)]

    def _selector(
        self,
        request: pb.DeletePointsRequest | pb.UpdatePayloadRequest | pb.DeleteVectorsRequest,
        instead: str,
    ) -> tuple[str, ...] | Filter:
        match request.WhichOneof("selector"):
            case "ids":
                return check_ids(request.ids.ids, "ids.ids", self._settings)
            case "filter":
                filter = read_filter(request.filter, self._settings)
                if matches_everything(filter):
                    raise InvalidArgument("filter", f"matches everything; {instead}", "FILTER_EMPTY")
                return filter
            case _:
                raise InvalidArgument("selector", "empty; either ids or filter must be set")


def _result(id: str, result: WriteResult) -> pb.UpsertResult:
    if isinstance(result, ServiceError):
        return pb.UpsertResult(id=id, status=to_status(result))
    return pb.UpsertResult(
        id=id,
        status=status_pb2.Status(),
        tokens_dropped=result.tokens_dropped,
        skipped=result.skipped,
        successor_status=None if result.lacking is None else to_status(result.lacking),
    )
