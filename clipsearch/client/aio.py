"""The asyncio clients: `AsyncClient` for the search service, `AsyncEncoderClient` for the encoder.

They do what `clipsearch.client.sync` documents, method by method. Requests that may read images are
built in a thread, so that no disk holds up the loop. A client belongs to the loop it was made in.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import grpc
import numpy as np
from google.protobuf.message import Message

from clipsearch.channel import connection
from clipsearch.channel.credentials import ClientTls, bearer
from clipsearch.client import rpc
from clipsearch.client.types import Page, StoredPoint, Vector

P = ParamSpec("P")
Answer = TypeVar("Answer")

# Serialised in a thread from here on: about a millisecond's work.
_LARGE_BYTES = 1 << 20


class _AsyncCaller(rpc.Caller[grpc.aio.Channel]):
    def _connect(self, tls: ClientTls | None) -> grpc.aio.Channel:
        return connection.aio_channel(self.address, tls=tls)

    async def close(self) -> None:
        """Closes the connection; calls in progress fail."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _call(self, request: Message) -> Any:
        """Sends what is serialised already.

        gRPC would serialise on the loop, in one turn with its own copying: an image of 20 MB held it up
        for 61 ms, and for 25 ms when it is serialised in a thread.
        """
        method = self._method(request)
        if request.ByteSize() < _LARGE_BYTES:
            data = request.SerializeToString()
        else:
            data = await asyncio.to_thread(request.SerializeToString)
        try:
            return await method(data, timeout=self._timeout, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise self._failure(error) from None


Caller = TypeVar("Caller", bound=_AsyncCaller)


def with_token(client: Caller, token: str | None) -> Caller:
    """A client on the same connection that shows another token. Closing either closes both."""
    other = copy.copy(client)
    other._metadata = bearer(token)
    return other


def _method(
    call: rpc.Rpc[P, Answer],
) -> Callable[Concatenate[_AsyncCaller, P], Coroutine[Any, Any, Answer]]:
    """The method of a client that makes the call."""

    async def method(self: _AsyncCaller, /, *args: P.args, **kwargs: P.kwargs) -> Answer:
        if call.reads_images(kwargs):
            request = await asyncio.to_thread(call.request, *args, **kwargs)
        else:
            request = call.request(*args, **kwargs)
        return call.read(await self._call(request))

    rpc.describe(method, call)
    return method


def _paged(call: rpc.Rpc[P, Page]) -> Callable[Concatenate[_AsyncCaller, P], AsyncIterator[StoredPoint]]:
    """The method of a client that makes the call for one page after the other."""

    def method(self: _AsyncCaller, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[StoredPoint]:
        request: Any = call.request(*args, **kwargs)  # now, not when the first point is asked for

        async def points() -> AsyncIterator[StoredPoint]:
            while True:
                page = call.read(await self._call(request))
                for point in page.points:
                    yield point
                if not page.next_token:
                    return
                request.page_token = page.next_token

        return points()

    rpc.describe(method, call, "AsyncIterator[StoredPoint]")
    return method


def _listed(
    call: rpc.BatchedRpc[P, Answer],
) -> Callable[Concatenate[_AsyncCaller, P], Coroutine[Any, Any, list[Answer]]]:
    """The method of a client that makes the call as often as it takes."""

    async def method(self: _AsyncCaller, /, *args: P.args, **kwargs: P.kwargs) -> list[Answer]:
        answers: list[Answer] = []
        requests = call.request(*args, **kwargs)
        while (request := await asyncio.to_thread(next, requests, None)) is not None:
            answers += call.read(await self._call(request), len(answers))
        return answers

    rpc.describe(method, call)
    return method


def _stacked(
    call: rpc.BatchedRpc[P, Vector],
) -> Callable[Concatenate[AsyncEncoderClient, P], Coroutine[Any, Any, Vector]]:
    listed = _listed(call)

    async def method(self: AsyncEncoderClient, /, *args: P.args, **kwargs: P.kwargs) -> Vector:
        vectors = await listed(self, *args, **kwargs)
        return np.stack(vectors) if vectors else np.empty((0, (await self.model()).dimension), np.float32)

    rpc.describe(method, call, "Vector")
    return method


class AsyncClient(_AsyncCaller):
    """Calls the search service at `address` (`host:port`; None = 127.0.0.1:50052)."""

    _kind = "search service"
    _default = "127.0.0.1:50052"

    search = _method(rpc.SEARCH)
    search_batch = _method(rpc.SEARCH_BATCH)
    search_groups = _method(rpc.SEARCH_GROUPS)
    upsert = _method(rpc.UPSERT)
    get_points = _method(rpc.GET_POINTS)
    delete_points = _method(rpc.DELETE_POINTS)
    update_payload = _method(rpc.UPDATE_PAYLOAD)
    update_vectors = _method(rpc.UPDATE_VECTORS)
    delete_vectors = _method(rpc.DELETE_VECTORS)
    count = _method(rpc.COUNT)
    facet = _method(rpc.FACET)
    list_page = _method(rpc.LIST_PAGE)
    list_points = _paged(rpc.LIST_POINTS)
    create_collection = _method(rpc.CREATE_COLLECTION)
    get_collection = _method(rpc.GET_COLLECTION)
    update_collection = _method(rpc.UPDATE_COLLECTION)
    list_collections = _method(rpc.LIST_COLLECTIONS)
    delete_collection = _method(rpc.DELETE_COLLECTION)
    update_alias = _method(rpc.UPDATE_ALIAS)
    set_successor = _method(rpc.SET_SUCCESSOR)
    create_payload_index = _method(rpc.CREATE_PAYLOAD_INDEX)
    delete_payload_index = _method(rpc.DELETE_PAYLOAD_INDEX)


class AsyncEncoderClient(_AsyncCaller):
    """Calls the encoder at `address` (`host:port`; None = 127.0.0.1:50051)."""

    _kind = "encoder"
    _default = "127.0.0.1:50051"

    model = _method(rpc.MODEL)
    encode_texts = _stacked(rpc.ENCODE_TEXTS)
    encode_images = _stacked(rpc.ENCODE_IMAGES)
    classify = _listed(rpc.CLASSIFY)
