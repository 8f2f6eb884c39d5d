"""The blocking clients: `Client` for the search service, `EncoderClient` for the encoder.

Plain Python in, plain Python out; threads may share a client. Every method raises ClipSearchError
when the call fails, TypeError and ValueError for what cannot be sent at all (one text where a list of
texts is meant, say), and OSError for an image's path that cannot be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import grpc
import numpy as np
from google.protobuf.message import Message

from clipsearch.channel import connection
from clipsearch.channel.credentials import ClientTls
from clipsearch.client import rpc
from clipsearch.client.inputs import ImageLike
from clipsearch.client.types import Classification, Page, StoredPoint, Vector

P = ParamSpec("P")
Answer = TypeVar("Answer")


class _Caller(rpc.Caller):
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

    def _batched(self, call: rpc.BatchedRpc[P, Answer], *args: P.args, **kwargs: P.kwargs) -> list[Answer]:
        answers: list[Answer] = []
        for request in call.requests(*args, **kwargs):
            answers += call.read(self._call(request), len(answers))
        return answers


def _method(call: rpc.Rpc[P, Answer]) -> Callable[Concatenate[_Caller, P], Answer]:
    """The method of a client that makes the call."""

    def method(self: _Caller, /, *args: P.args, **kwargs: P.kwargs) -> Answer:
        return call.read(self._call(call.request(*args, **kwargs)))

    call.describe(method)
    return method


def _paged(call: rpc.Rpc[P, Page]) -> Callable[Concatenate[_Caller, P], Iterator[StoredPoint]]:
    """The method of a client that makes the call for one page after the other."""

    def method(self: _Caller, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[StoredPoint]:
        request: Any = call.request(*args, **kwargs)
        while True:
            page = call.read(self._call(request))
            yield from page.points
            if not page.next_token:
                return
            request.page_token = page.next_token

    call.describe(method, "Iterator[StoredPoint]")
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

    def encode_texts(self, texts: Iterable[str]) -> Vector:
        """L2-normalised float32 [len(texts), dimension]; long lists go in several calls.

        Raises ClipSearchError for the first text that cannot be encoded, naming it.
        """
        return self._stacked(self._batched(rpc.ENCODE_TEXTS, texts))

    def encode_images(self, images: Iterable[ImageLike]) -> Vector:
        """L2-normalised float32 [images, dimension]; long lists go in several calls.

        Raises ClipSearchError for the first image that cannot be encoded, naming it.
        """
        return self._stacked(self._batched(rpc.ENCODE_IMAGES, images))

    def classify(
        self, images: Iterable[ImageLike], labels: Iterable[str], *, prompt_template: str | Sequence[str] = ""
    ) -> list[Classification]:
        """Which label fits each image best? Long lists of images go in several calls.

        Default prompt: "a photo of a {}"; of several templates the vectors are averaged. An image that
        cannot be read has an error and no labels.
        """
        return self._batched(rpc.CLASSIFY, images, labels, prompt_template=prompt_template)

    def _stacked(self, vectors: list[Vector]) -> Vector:
        return np.stack(vectors) if vectors else np.empty((0, self.model().dimension), np.float32)
