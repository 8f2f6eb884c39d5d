"""The blocking clients: `Client` for the search service, `EncoderClient` for the encoder.

Plain Python in, plain Python out; threads may share a client. Every method raises ClipSearchError
when the call fails, TypeError and ValueError for what cannot be sent at all (one text where a list of
texts is meant, say), and OSError for an image's path that cannot be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import grpc
import numpy as np
from google.protobuf.message import Message

from clipsearch.channel import connection
from clipsearch.channel.credentials import ClientTls
from clipsearch.client import rpc
from clipsearch.client.types import Page, StoredPoint, Vector

P = ParamSpec("P")
Answer = TypeVar("Answer")


class _Caller(rpc.Caller[grpc.Channel]):
    def _connect(self, tls: ClientTls | None) -> grpc.Channel:
        return connection.channel(self.address, tls)

    def close(self) -> None:
        """Closes the connection; calls in progress fail."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, request: Message) -> Any:
        method = self._method(request)
        try:
            return method(request.SerializeToString(), timeout=self._timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            raise self._failure(error) from None


def _method(call: rpc.Rpc[P, Answer]) -> Callable[Concatenate[_Caller, P], Answer]:
    """The method of a client that makes the call."""

    def method(self: _Caller, /, *args: P.args, **kwargs: P.kwargs) -> Answer:
        return call.read(self._call(call.request(*args, **kwargs)))

    rpc.describe(method, call)
    return method


def _paged(call: rpc.Rpc[P, Page]) -> Callable[Concatenate[_Caller, P], Iterator[StoredPoint]]:
    """The method of a client that makes the call for one page after the other."""

    def method(self: _Caller, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[StoredPoint]:
        request: Any = call.request(*args, **kwargs)  # now, not when the first point is asked for

        def points() -> Iterator[StoredPoint]:
            while True:
                page = call.read(self._call(request))
                yield from page.points
                if not page.next_token:
                    return
                request.page_token = page.next_token

        return points()

    rpc.describe(method, call, "Iterator[StoredPoint]")
    return method


def _listed(call: rpc.BatchedRpc[P, Answer]) -> Callable[Concatenate[_Caller, P], list[Answer]]:
    """The method of a client that makes the call as often as it takes."""

    def method(self: _Caller, /, *args: P.args, **kwargs: P.kwargs) -> list[Answer]:
        answers: list[Answer] = []
        for request in call.request(*args, **kwargs):
            answers += call.read(self._call(request), len(answers))
        return answers

    rpc.describe(method, call)
    return method


def _stacked(call: rpc.BatchedRpc[P, Vector]) -> Callable[Concatenate[EncoderClient, P], Vector]:
    listed = _listed(call)

    def method(self: EncoderClient, /, *args: P.args, **kwargs: P.kwargs) -> Vector:
        vectors = listed(self, *args, **kwargs)
        return np.stack(vectors) if vectors else np.empty((0, self.model().dimension), np.float32)

    rpc.describe(method, call, "Vector")
    return method


class Client(_Caller):
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


class EncoderClient(_Caller):
    """Calls the encoder at `address` (`host:port`; None = 127.0.0.1:50051)."""

    _kind = "encoder"
    _default = "127.0.0.1:50051"

    model = _method(rpc.MODEL)
    encode_texts = _stacked(rpc.ENCODE_TEXTS)
    encode_images = _stacked(rpc.ENCODE_IMAGES)
    classify = _listed(rpc.CLASSIFY)
