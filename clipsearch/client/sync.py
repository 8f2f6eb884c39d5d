"""The blocking clients: `Client` for the search service, `EncoderClient` for the encoder.

Plain Python in, plain Python out; threads may share a client. Every method raises ClipSearchError
when the call fails, TypeError and ValueError for what cannot be sent at all (one text where a list of
texts is meant, say), and OSError for an image's path that cannot be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import grpc
import numpy as np
from google.protobuf.message import Message

from clipsearch.channel import connection
from clipsearch.channel.credentials import ClientTls, bearer
from clipsearch.client import rpc
from clipsearch.client.errors import from_rpc_error
from clipsearch.client.inputs import ImageLike
from clipsearch.client.types import Classification, StoredPoint, Vector
from clipsearch.filters.convert import FilterLike

P = ParamSpec("P")
Answer = TypeVar("Answer")


class _Caller:
    """A channel to one service. `timeout` is each call's deadline, in seconds.

    `token` is shown at each call. `tls` None = plaintext. Making one raises CredentialsError.
    """

    _kind: str
    _default: str

    def __init__(
        self,
        address: str | None = None,
        *,
        timeout: float = 30.0,
        token: str | None = None,
        tls: ClientTls | None = None,
    ) -> None:
        self.address = address or self._default
        self._timeout = timeout
        self._metadata = bearer(token)
        self._channel = connection.channel(self.address, tls)
        self._methods: dict[str, grpc.UnaryUnaryMultiCallable[bytes, Any]] = {}

    def close(self) -> None:
        """Closes the connection; calls in progress fail."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, called: rpc.Method, request: Message) -> Any:
        method = self._methods.get(called.path)
        if method is None:
            method = self._methods[called.path] = self._channel.unary_unary(
                called.path, response_deserializer=called.response.FromString
            )
        try:
            return method(request.SerializeToString(), timeout=self._timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            raise from_rpc_error(error, f"{self._kind} at {self.address}") from None

    def _batched(self, call: rpc.BatchedRpc[P, Answer], *args: P.args, **kwargs: P.kwargs) -> list[Answer]:
        answers: list[Answer] = []
        for request in call.requests(*args, **kwargs):
            answers += call.read(self._call(call.method, request), len(answers))
        return answers


def _method(call: rpc.Rpc[P, Answer]) -> Callable[Concatenate[_Caller, P], Answer]:
    """The method of a client that makes the call."""

    def method(self: _Caller, /, *args: P.args, **kwargs: P.kwargs) -> Answer:
        return call.read(self._call(call.method, call.request(*args, **kwargs)))

    call.describe(method)
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
    create_collection = _method(rpc.CREATE_COLLECTION)
    get_collection = _method(rpc.GET_COLLECTION)
    update_collection = _method(rpc.UPDATE_COLLECTION)
    list_collections = _method(rpc.LIST_COLLECTIONS)
    delete_collection = _method(rpc.DELETE_COLLECTION)
    update_alias = _method(rpc.UPDATE_ALIAS)
    set_successor = _method(rpc.SET_SUCCESSOR)
    create_payload_index = _method(rpc.CREATE_PAYLOAD_INDEX)
    delete_payload_index = _method(rpc.DELETE_PAYLOAD_INDEX)

    def list_points(
        self,
        collection: str,
        *,
        filter: FilterLike | None = None,
        page_size: int = 100,
        payload: bool | Sequence[str] = True,
        with_vectors: bool = False,
        order_by: str | None = None,
        descending: bool = False,
        start_from: float | datetime | None = None,
    ) -> Iterator[StoredPoint]:
        """All points that match, fetched page by page as they are asked for.

        In a stable order, or in that of the values of `order_by`, as in `list_page`.
        """
        token = ""
        while True:
            page = self.list_page(
                collection,
                page_token=token,
                filter=filter,
                page_size=page_size,
                payload=payload,
                with_vectors=with_vectors,
                order_by=order_by,
                descending=descending,
                start_from=start_from,
            )
            yield from page.points
            token = page.next_token
            if not token:
                return


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
