"""The asyncio clients: `AsyncClient` for the search service, `AsyncEncoderClient` for the encoder.

They do what `clipsearch.client.sync` documents, method by method. Requests that may read pictures are
built in a thread, so that no disk holds up the loop; a search without a picture is not, as the
thread would cost more than all else that the client does for it. A client belongs to the loop it was made in.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from functools import partial
from typing import Any, Self, TypeVar, Unpack, cast

import grpc
import numpy as np
from google.protobuf.message import Message

from clipsearch.channel import connection
from clipsearch.channel.credentials import ClientTls, bearer
from clipsearch.client import requests, responses
from clipsearch.client.errors import from_rpc_error
from clipsearch.client.inputs import (
    CollectionOptions,
    FilterLike,
    IndexType,
    Picture,
    Point,
    Search,
    SearchOptions,
)
from clipsearch.client.types import (
    Classification,
    Collection,
    Model,
    Page,
    SearchResult,
    StoredPoint,
    UpsertResult,
    Vector,
)
from clipsearch.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from clipsearch.search.v1 import collection_pb2, collection_pb2_grpc, search_pb2, search_pb2_grpc

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response")
Answer = TypeVar("Answer")


# Serialised in a thread from here on: about a millisecond's work.
_LARGE_BYTES = 1 << 20


class _TakesBytes:
    """A channel for stubs whose methods take requests that are serialised already.

    gRPC would serialise on the loop, in one turn with its own copying: a picture of 20 MB held it up for
    61 ms, and for 25 ms when it is serialised in a thread.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    def unary_unary(self, method: str, *, response_deserializer: Any, **options: Any) -> Any:
        """What generated stubs call; their serialiser is left out."""
        del options["request_serializer"]
        return self._channel.unary_unary(method, response_deserializer=response_deserializer, **options)


class _AsyncCaller:
    """A channel to one service. `timeout` is each call's deadline, in seconds.

    `token` is shown at each call. `tls` None = plaintext. Making one raises CredentialsError.
    """

    _kind: str

    def __init__(self, address: str, timeout: float, token: str | None, tls: ClientTls | None) -> None:
        self.address = address
        self._timeout = timeout
        self._metadata = bearer(token)
        self._channel = connection.aio_channel(address, tls=tls)
        self._takes_bytes: Any = _TakesBytes(self._channel)

    async def close(self) -> None:
        """Closes the connection; calls in progress fail."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _call(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        read: Callable[[Response], Answer],
    ) -> Answer:
        if request.ByteSize() < _LARGE_BYTES:
            data = request.SerializeToString()
        else:
            data = await asyncio.to_thread(request.SerializeToString)
        try:
            response = await method(cast(Request, data), timeout=self._timeout, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error, f"{self._kind} at {self.address}") from None
        return read(response)


class AsyncClient(_AsyncCaller):
    """Calls the search service at `address` (`host:port`)."""

    _kind = "search service"

    def __init__(
        self,
        address: str = "127.0.0.1:50052",
        *,
        timeout: float = 30.0,
        token: str | None = None,
        tls: ClientTls | None = None,
    ) -> None:
        super().__init__(address, timeout, token, tls)
        self._points: search_pb2_grpc.SearchServiceAsyncStub = search_pb2_grpc.SearchServiceStub(
            self._takes_bytes
        )
        self._collections: collection_pb2_grpc.CollectionServiceAsyncStub = (
            collection_pb2_grpc.CollectionServiceStub(self._takes_bytes)
        )

    async def search(
        self, collection: str, text: str | None = None, **options: Unpack[SearchOptions]
    ) -> SearchResult:
        """Finds the points nearest to a query."""
        if _has_picture(options):
            request = await asyncio.to_thread(requests.search, collection, text=text, **options)
        else:
            request = requests.search(collection, text=text, **options)
        return await self._call(self._points.Search, request, responses.search_result)

    async def search_batch(self, collection: str, searches: Iterable[Search]) -> list[SearchResult]:
        """Several searches in one call."""
        request = await asyncio.to_thread(requests.search_batch, collection, searches)
        return await self._call(self._points.SearchBatch, request, responses.search_results)

    async def upsert(
        self,
        collection: str,
        points: Iterable[Point],
        *,
        wait: bool = True,
        insert_only: bool = False,
        fingerprint: str = "",
    ) -> list[UpsertResult]:
        """Writes points, replacing those of the same ids; with `insert_only` those stay as they are."""
        request = await asyncio.to_thread(
            requests.upsert,
            collection,
            points,
            wait=wait,
            insert_only=insert_only,
            fingerprint=fingerprint,
        )
        return await self._call(self._points.Upsert, request, responses.upsert_results)

    async def get_points(
        self,
        collection: str,
        ids: Iterable[str],
        *,
        payload: bool | Sequence[str] = True,
        with_vectors: bool = False,
    ) -> list[StoredPoint]:
        """Those points that exist, in the order of `ids`."""
        request = requests.get_points(collection, ids, payload=payload, with_vectors=with_vectors)
        return await self._call(self._points.GetPoints, request, responses.stored_points)

    async def delete_points(
        self, collection: str, ids: Iterable[str] | None = None, *, filter: FilterLike | None = None
    ) -> int:
        """Deletes by ids or by filter; returns how many points existed and are gone."""
        request = requests.delete_points(collection, ids, filter)
        return await self._call(self._points.DeletePoints, request, responses.deleted)

    async def count(self, collection: str, *, filter: FilterLike | None = None) -> int:
        """How many points match."""
        request = search_pb2.CountPointsRequest(
            collection=collection, filter=requests.optional_filter(filter)
        )
        return await self._call(self._points.CountPoints, request, responses.count)

    async def list_page(
        self,
        collection: str,
        *,
        page_token: str = "",
        filter: FilterLike | None = None,
        page_size: int = 100,
        payload: bool | Sequence[str] = True,
        with_vectors: bool = False,
    ) -> Page:
        """One page of the points that match, in a stable order; `page_token` is that of the page before."""
        request = requests.list_points(
            collection,
            page_token=page_token,
            page_size=page_size,
            filter=filter,
            payload=payload,
            with_vectors=with_vectors,
        )
        return await self._call(self._points.ListPoints, request, responses.page)

    async def list_points(
        self,
        collection: str,
        *,
        filter: FilterLike | None = None,
        page_size: int = 100,
        payload: bool | Sequence[str] = True,
        with_vectors: bool = False,
    ) -> AsyncIterator[StoredPoint]:
        """All points that match, in a stable order, fetched page by page as they are asked for."""
        token = ""
        while True:
            page = await self.list_page(
                collection,
                page_token=token,
                filter=filter,
                page_size=page_size,
                payload=payload,
                with_vectors=with_vectors,
            )
            for point in page.points:
                yield point
            token = page.next_token
            if not token:
                return

    async def create_collection(self, name: str, **options: Unpack[CollectionOptions]) -> Collection:
        """Creates a collection for an encoder's model."""
        request = requests.create_collection(name, **options)
        return await self._call(self._collections.CreateCollection, request, responses.created_collection)

    async def get_collection(self, name: str) -> Collection:
        """Describes a collection, given by name or alias."""
        request = collection_pb2.GetCollectionRequest(name=name)
        return await self._call(self._collections.GetCollection, request, responses.found_collection)

    async def list_collections(self) -> list[Collection]:
        """All collections, by name."""
        request = collection_pb2.ListCollectionsRequest()
        return await self._call(self._collections.ListCollections, request, responses.all_collections)

    async def delete_collection(self, name: str) -> None:
        """Deletes a collection, its points, and the aliases that point at it."""
        request = collection_pb2.DeleteCollectionRequest(name=name)
        await self._call(self._collections.DeleteCollection, request, responses.nothing)

    async def update_alias(self, alias: str, collection: str | None) -> str:
        """Points an alias at a collection, or removes it (None). Returns where it pointed ("" = nowhere)."""
        request = collection_pb2.UpdateAliasRequest(alias=alias, collection=collection or "")
        return await self._call(self._collections.UpdateAlias, request, responses.previous_collection)

    async def set_successor(self, collection: str, successor: str | None) -> float:
        """Lets `successor` get every write to the collection too (None = no more)."""
        request = collection_pb2.SetSuccessorRequest(collection=collection, successor=successor or "")
        return await self._call(self._collections.SetSuccessor, request, responses.settles_after)

    async def create_payload_index(self, collection: str, field: str, type: IndexType) -> None:
        """Makes filters on a payload field fast."""
        request = collection_pb2.CreatePayloadIndexRequest(
            collection=collection, index=requests.payload_index(field, type)
        )
        await self._call(self._collections.CreatePayloadIndex, request, responses.nothing)


class AsyncEncoderClient(_AsyncCaller):
    """Calls the encoder at `address` (`host:port`)."""

    _kind = "encoder"

    def __init__(
        self,
        address: str = "127.0.0.1:50051",
        *,
        timeout: float = 30.0,
        token: str | None = None,
        tls: ClientTls | None = None,
    ) -> None:
        super().__init__(address, timeout, token, tls)
        self._encoder: encoder_pb2_grpc.EncoderServiceAsyncStub = encoder_pb2_grpc.EncoderServiceStub(
            self._takes_bytes
        )

    async def model(self) -> Model:
        """The model that the encoder runs."""
        return await self._call(self._encoder.GetModel, encoder_pb2.GetModelRequest(), responses.model)

    async def encode_texts(self, texts: Iterable[str]) -> Vector:
        """L2-normalised float32 [len(texts), dimension]; long lists go in several calls."""
        matrices = [
            await self._call(
                self._encoder.EncodeText, request, partial(responses.matrix, inputs="texts", first=first)
            )
            for first, request in requests.encode_texts(texts)
        ]
        return await self._stacked(matrices)

    async def encode_images(self, images: Iterable[Picture]) -> Vector:
        """L2-normalised float32 [pictures, dimension]; long lists go in several calls."""
        matrices = []
        parts = requests.encode_images(images)
        while (part := await asyncio.to_thread(next, parts, None)) is not None:
            first, request = part
            read = partial(responses.matrix, inputs="images", first=first)
            matrices.append(await self._call(self._encoder.EncodeImage, request, read))
        return await self._stacked(matrices)

    async def classify(
        self, images: Iterable[Picture], labels: Iterable[str], *, prompt_template: str = ""
    ) -> list[Classification]:
        """Which label fits each picture best? Long lists of pictures go in several calls."""
        results: list[Classification] = []
        parts = requests.classify(images, labels, prompt_template)
        while (request := await asyncio.to_thread(next, parts, None)) is not None:
            results += await self._call(self._encoder.Classify, request, responses.classifications)
        return results

    async def _stacked(self, matrices: list[Vector]) -> Vector:
        if matrices:
            return np.concatenate(matrices)
        return np.empty((0, (await self.model()).dimension), np.float32)


def _has_picture(options: SearchOptions) -> bool:
    """Whether building the search may read or encode a picture."""
    query = options.get("query", ())
    return options.get("image") is not None or (
        isinstance(query, Sequence) and any(getattr(term, "image", None) is not None for term in query)
    )
