"""The blocking clients: `Client` for the search service, `EncoderClient` for the encoder.

Plain Python in, plain Python out; threads may share a client. Every method raises ClipSearchError
when the call fails, TypeError and ValueError for what cannot be sent at all (one text where a list of
texts is meant, say), and OSError for a picture's path that cannot be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Self, TypeVar, Unpack

import grpc
import numpy as np

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

Request = TypeVar("Request")
Response = TypeVar("Response")
Answer = TypeVar("Answer")


class _Caller:
    """A channel to one service. `timeout` is each call's deadline, in seconds.

    `token` is shown at each call. `tls` None = plaintext. Making one raises CredentialsError.
    """

    _kind: str

    def __init__(self, address: str, timeout: float, token: str | None, tls: ClientTls | None) -> None:
        self.address = address
        self._timeout = timeout
        self._metadata = bearer(token)
        self._channel = connection.channel(address, tls)

    def close(self) -> None:
        """Closes the connection; calls in progress fail."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(
        self,
        method: grpc.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        read: Callable[[Response], Answer],
    ) -> Answer:
        try:
            response = method(request, timeout=self._timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            raise from_rpc_error(error, f"{self._kind} at {self.address}") from None
        return read(response)


class Client(_Caller):
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
        self._points = search_pb2_grpc.SearchServiceStub(self._channel)
        self._collections = collection_pb2_grpc.CollectionServiceStub(self._channel)

    def search(
        self, collection: str, text: str | None = None, **options: Unpack[SearchOptions]
    ) -> SearchResult:
        """Finds the points nearest to words, a picture, a vector, a stored point, or several of them.

        See `clipsearch.client.inputs.SearchOptions` for the options.
        """
        request = requests.search(collection, text=text, **options)
        return self._call(self._points.Search, request, responses.search_result)

    def search_batch(self, collection: str, searches: Iterable[Search]) -> list[SearchResult]:
        """Several searches in one call: `[{"text": "a cat"}, {"image": "cat.jpg", "limit": 3}]`."""
        request = requests.search_batch(collection, searches)
        return self._call(self._points.SearchBatch, request, responses.search_results)

    def upsert(
        self,
        collection: str,
        points: Iterable[Point],
        *,
        wait: bool = True,
        insert_only: bool = False,
        fingerprint: str = "",
    ) -> list[UpsertResult]:
        """Writes at most 256 points (a server setting), replacing those of the same ids.

        With `insert_only` points that are there stay as they are, and nothing is encoded for them.
        A point that cannot be written fails alone, in its result. For more, see `clipsearch.ingest`.
        """
        request = requests.upsert(
            collection, points, wait=wait, insert_only=insert_only, fingerprint=fingerprint
        )
        return self._call(self._points.Upsert, request, responses.upsert_results)

    def get_points(
        self,
        collection: str,
        ids: Iterable[str],
        *,
        payload: bool | Sequence[str] = True,
        with_vectors: bool = False,
    ) -> list[StoredPoint]:
        """Those of at most 1000 points that exist, in the order of `ids`."""
        request = requests.get_points(collection, ids, payload=payload, with_vectors=with_vectors)
        return self._call(self._points.GetPoints, request, responses.stored_points)

    def delete_points(
        self, collection: str, ids: Iterable[str] | None = None, *, filter: FilterLike | None = None
    ) -> int:
        """Deletes by ids or by filter; returns how many points existed and are gone."""
        request = requests.delete_points(collection, ids, filter)
        return self._call(self._points.DeletePoints, request, responses.deleted)

    def count(self, collection: str, *, filter: FilterLike | None = None) -> int:
        """How many points match."""
        request = search_pb2.CountPointsRequest(
            collection=collection, filter=requests.optional_filter(filter)
        )
        return self._call(self._points.CountPoints, request, responses.count)

    def list_page(
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
        return self._call(self._points.ListPoints, request, responses.page)

    def list_points(
        self,
        collection: str,
        *,
        filter: FilterLike | None = None,
        page_size: int = 100,
        payload: bool | Sequence[str] = True,
        with_vectors: bool = False,
    ) -> Iterator[StoredPoint]:
        """All points that match, in a stable order, fetched page by page as they are asked for."""
        token = ""
        while True:
            page = self.list_page(
                collection,
                page_token=token,
                filter=filter,
                page_size=page_size,
                payload=payload,
                with_vectors=with_vectors,
            )
            yield from page.points
            token = page.next_token
            if not token:
                return

    def create_collection(self, name: str, **options: Unpack[CollectionOptions]) -> Collection:
        """Creates a collection for an encoder's model. See `clipsearch.client.inputs.CollectionOptions`."""
        request = requests.create_collection(name, **options)
        return self._call(self._collections.CreateCollection, request, responses.created_collection)

    def get_collection(self, name: str) -> Collection:
        """Describes a collection, given by name or alias."""
        request = collection_pb2.GetCollectionRequest(name=name)
        return self._call(self._collections.GetCollection, request, responses.found_collection)

    def list_collections(self) -> list[Collection]:
        """All collections, by name."""
        request = collection_pb2.ListCollectionsRequest()
        return self._call(self._collections.ListCollections, request, responses.all_collections)

    def delete_collection(self, name: str) -> None:
        """Deletes a collection, its points, and the aliases that point at it."""
        request = collection_pb2.DeleteCollectionRequest(name=name)
        self._call(self._collections.DeleteCollection, request, responses.nothing)

    def update_alias(self, alias: str, collection: str | None) -> str:
        """Points an alias at a collection, or removes it (None). Returns where it pointed ("" = nowhere)."""
        request = collection_pb2.UpdateAliasRequest(alias=alias, collection=collection or "")
        return self._call(self._collections.UpdateAlias, request, responses.previous_collection)

    def set_successor(self, collection: str, successor: str | None) -> float:
        """Lets `successor` get every write to the collection too, encoded by its own model (None = no more).

        Returns the seconds until other replicas of the service are sure to do so (0 without a Qdrant server).
        """
        request = collection_pb2.SetSuccessorRequest(collection=collection, successor=successor or "")
        return self._call(self._collections.SetSuccessor, request, responses.settles_after)

    def create_payload_index(self, collection: str, field: str, type: IndexType) -> None:
        """Makes filters on a payload field fast."""
        request = collection_pb2.CreatePayloadIndexRequest(
            collection=collection, index=requests.payload_index(field, type)
        )
        self._call(self._collections.CreatePayloadIndex, request, responses.nothing)


class EncoderClient(_Caller):
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
        self._encoder = encoder_pb2_grpc.EncoderServiceStub(self._channel)

    def model(self) -> Model:
        """The model that the encoder runs."""
        return self._call(self._encoder.GetModel, encoder_pb2.GetModelRequest(), responses.model)

    def encode_texts(self, texts: Iterable[str]) -> Vector:
        """L2-normalised float32 [len(texts), dimension]; long lists go in several calls.

        Raises ClipSearchError for the first text that cannot be encoded, naming it.
        """
        return self._stacked(
            self._call(
                self._encoder.EncodeText, request, partial(responses.matrix, inputs="texts", first=first)
            )
            for first, request in requests.encode_texts(texts)
        )

    def encode_images(self, images: Iterable[Picture]) -> Vector:
        """L2-normalised float32 [pictures, dimension]; long lists go in several calls.

        Raises ClipSearchError for the first picture that cannot be encoded, naming it.
        """
        return self._stacked(
            self._call(
                self._encoder.EncodeImage, request, partial(responses.matrix, inputs="images", first=first)
            )
            for first, request in requests.encode_images(images)
        )

    def classify(
        self, images: Iterable[Picture], labels: Iterable[str], *, prompt_template: str = ""
    ) -> list[Classification]:
        """Which label fits each picture best? Long lists of pictures go in several calls.

        Default prompt: "a photo of a {}". A picture that cannot be read has an error and no labels.
        """
        results: list[Classification] = []
        for request in requests.classify(images, labels, prompt_template):
            results += self._call(self._encoder.Classify, request, responses.classifications)
        return results

    def _stacked(self, parts: Iterator[Vector]) -> Vector:
        matrices = list(parts)
        return np.concatenate(matrices) if matrices else np.empty((0, self.model().dimension), np.float32)
