"""The calls of both services, each once: its path, how a request is made of what the caller gives, how
the answer is read. `sync` and `aio` make methods of them, with the request's parameters and description.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar

from google.protobuf.message import Message

from clipsearch.client import collection_requests, requests, responses
from clipsearch.encoder.v1 import encoder_pb2
from clipsearch.search.v1 import collection_pb2, search_pb2

P = ParamSpec("P")
Response = TypeVar("Response", bound=Message)
Answer = TypeVar("Answer")

_POINTS = "/clipsearch.search.v1.SearchService"
_COLLECTIONS = "/clipsearch.search.v1.CollectionService"
_ENCODER = "/clipsearch.encoder.v1.EncoderService"


def _never(_: dict[str, Any]) -> bool:
    return False


def _always(_: dict[str, Any]) -> bool:
    return True


def _has_image(options: dict[str, Any]) -> bool:
    query = options.get("query", ())
    return options.get("image") is not None or (
        isinstance(query, Sequence) and any(getattr(term, "image", None) is not None for term in query)
    )


@dataclass(frozen=True, slots=True)
class Rpc(Generic[P, Response, Answer]):
    """One call. `reads_images` tells by the options whether making its request may read or encode images."""

    path: str
    request: Callable[P, Message]
    response: type[Response]
    read: Callable[[Response], Answer]
    reads_images: Callable[[dict[str, Any]], bool] = _never

    def describe(self, method: Callable[..., Any]) -> None:
        """Gives a method that makes the call its name, description and parameters, as `help` shows them."""
        own, request = inspect.signature(method), inspect.signature(self.request)
        myself = next(iter(own.parameters.values())).replace(annotation=inspect.Parameter.empty)
        method.__name__, method.__doc__ = self.request.__name__, self.request.__doc__
        method.__signature__ = request.replace(  # type: ignore[attr-defined]
            parameters=[myself, *request.parameters.values()],
            return_annotation=inspect.signature(self.read).return_annotation,
        )


@dataclass(frozen=True, slots=True)
class BatchedRpc(Generic[P, Response, Answer]):
    """A call that is made several times for a long list.

    `read` is given the position of the response's first item in the list, and returns an answer an item.
    """

    path: str
    requests: Callable[P, Iterator[Message]]
    response: type[Response]
    read: Callable[[Response, int], list[Answer]]


SEARCH = Rpc(
    f"{_POINTS}/Search",
    requests.search,
    search_pb2.SearchResponse,
    responses.search_result,
    _has_image,  # else no thread: it would cost more than all else that the client does for a search
)
SEARCH_BATCH = Rpc(
    f"{_POINTS}/SearchBatch",
    requests.search_batch,
    search_pb2.SearchBatchResponse,
    responses.search_results,
    _always,
)
UPSERT = Rpc(
    f"{_POINTS}/Upsert", requests.upsert, search_pb2.UpsertResponse, responses.upsert_results, _always
)
GET_POINTS = Rpc(
    f"{_POINTS}/GetPoints", requests.get_points, search_pb2.GetPointsResponse, responses.stored_points
)
DELETE_POINTS = Rpc(
    f"{_POINTS}/DeletePoints", requests.delete_points, search_pb2.DeletePointsResponse, responses.deleted
)
UPDATE_PAYLOAD = Rpc(
    f"{_POINTS}/UpdatePayload", requests.update_payload, search_pb2.UpdatePayloadResponse, responses.updated
)
COUNT = Rpc(f"{_POINTS}/CountPoints", requests.count, search_pb2.CountPointsResponse, responses.count)
LIST_PAGE = Rpc(f"{_POINTS}/ListPoints", requests.list_page, search_pb2.ListPointsResponse, responses.page)

CREATE_COLLECTION = Rpc(
    f"{_COLLECTIONS}/CreateCollection",
    collection_requests.create_collection,
    collection_pb2.CreateCollectionResponse,
    responses.created_collection,
)
GET_COLLECTION = Rpc(
    f"{_COLLECTIONS}/GetCollection",
    collection_requests.get_collection,
    collection_pb2.GetCollectionResponse,
    responses.found_collection,
)
LIST_COLLECTIONS = Rpc(
    f"{_COLLECTIONS}/ListCollections",
    collection_requests.list_collections,
    collection_pb2.ListCollectionsResponse,
    responses.all_collections,
)
DELETE_COLLECTION = Rpc(
    f"{_COLLECTIONS}/DeleteCollection",
    collection_requests.delete_collection,
    collection_pb2.DeleteCollectionResponse,
    responses.nothing,
)
UPDATE_ALIAS = Rpc(
    f"{_COLLECTIONS}/UpdateAlias",
    collection_requests.update_alias,
    collection_pb2.UpdateAliasResponse,
    responses.previous_collection,
)
SET_SUCCESSOR = Rpc(
    f"{_COLLECTIONS}/SetSuccessor",
    collection_requests.set_successor,
    collection_pb2.SetSuccessorResponse,
    responses.settles_after,
)
CREATE_PAYLOAD_INDEX = Rpc(
    f"{_COLLECTIONS}/CreatePayloadIndex",
    collection_requests.create_payload_index,
    collection_pb2.CreatePayloadIndexResponse,
    responses.nothing,
)

MODEL = Rpc(f"{_ENCODER}/GetModel", requests.model, encoder_pb2.GetModelResponse, responses.model)
ENCODE_TEXTS = BatchedRpc(
    f"{_ENCODER}/EncodeText",
    requests.encode_texts,
    encoder_pb2.EncodeTextResponse,
    responses.text_vectors,
)
ENCODE_IMAGES = BatchedRpc(
    f"{_ENCODER}/EncodeImage",
    requests.encode_images,
    encoder_pb2.EncodeImageResponse,
    responses.image_vectors,
)
CLASSIFY = BatchedRpc(
    f"{_ENCODER}/Classify", requests.classify, encoder_pb2.ClassifyResponse, responses.classifications
)
