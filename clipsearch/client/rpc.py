"""The calls of both services, each once: its path, how a request is made of what the caller gives, how
the answer is read. `sync` and `aio` make methods of them, with the request's parameters and description.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar

from google.protobuf import descriptor_pool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from clipsearch.client import collection_requests, requests, responses

P = ParamSpec("P")
Answer = TypeVar("Answer")

_POINTS = "clipsearch.search.v1.SearchService"
_COLLECTIONS = "clipsearch.search.v1.CollectionService"
_ENCODER = "clipsearch.encoder.v1.EncoderService"


def _never(_: dict[str, Any]) -> bool:
    return False


def _always(_: dict[str, Any]) -> bool:
    return True


def _has_image(options: dict[str, Any]) -> bool:
    query, context = options.get("query", ()), options.get("context", ())
    pairs = [pair for pair in context if isinstance(pair, Sequence)] if isinstance(context, Sequence) else []
    terms = [*(query if isinstance(query, Sequence) else ()), *(term for pair in pairs for term in pair)]
    return any(getattr(given, "image", None) is not None for given in terms) or (
        options.get("image") is not None
    )


class Method:
    """A method of the protos, by the name of its service and its own."""

    def __init__(self, service: str, name: str) -> None:
        self.path = f"/{service}/{name}"
        method = descriptor_pool.Default().FindMethodByName(f"{service}.{name}")
        self.response: type[Message] = GetMessageClass(method.output_type)


@dataclass(frozen=True, slots=True)
class Rpc(Generic[P, Answer]):
    """One call. `reads_images` tells by the options whether making its request may read or encode images."""

    method: Method
    request: Callable[P, Message]
    read: Callable[[Any], Answer]
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
class BatchedRpc(Generic[P, Answer]):
    """A call that is made several times for a long list.

    `read` is given the position of the response's first item in the list, and returns an answer an item.
    """

    method: Method
    requests: Callable[P, Iterator[Message]]
    read: Callable[[Any, int], list[Answer]]


# Making the request of a search takes no thread unless it has an image: it would cost more than all else.
SEARCH = Rpc(Method(_POINTS, "Search"), requests.search, responses.search_result, _has_image)
SEARCH_BATCH = Rpc(Method(_POINTS, "SearchBatch"), requests.search_batch, responses.search_results, _always)
SEARCH_GROUPS = Rpc(
    Method(_POINTS, "SearchGroups"), requests.search_groups, responses.grouped_result, _has_image
)
UPSERT = Rpc(Method(_POINTS, "Upsert"), requests.upsert, responses.upsert_results, _always)
GET_POINTS = Rpc(Method(_POINTS, "GetPoints"), requests.get_points, responses.stored_points)
DELETE_POINTS = Rpc(Method(_POINTS, "DeletePoints"), requests.delete_points, responses.deleted)
UPDATE_PAYLOAD = Rpc(Method(_POINTS, "UpdatePayload"), requests.update_payload, responses.updated)
UPDATE_VECTORS = Rpc(
    Method(_POINTS, "UpdateVectors"), requests.update_vectors, responses.upsert_results, _always
)
DELETE_VECTORS = Rpc(Method(_POINTS, "DeleteVectors"), requests.delete_vectors, responses.updated)
COUNT = Rpc(Method(_POINTS, "CountPoints"), requests.count, responses.count)
FACET = Rpc(Method(_POINTS, "Facet"), requests.facet, responses.facets)
LIST_PAGE = Rpc(Method(_POINTS, "ListPoints"), requests.list_page, responses.page)

CREATE_COLLECTION = Rpc(
    Method(_COLLECTIONS, "CreateCollection"),
    collection_requests.create_collection,
    responses.created_collection,
)
GET_COLLECTION = Rpc(
    Method(_COLLECTIONS, "GetCollection"), collection_requests.get_collection, responses.found_collection
)
UPDATE_COLLECTION = Rpc(
    Method(_COLLECTIONS, "UpdateCollection"),
    collection_requests.update_collection,
    responses.updated_collection,
)
LIST_COLLECTIONS = Rpc(
    Method(_COLLECTIONS, "ListCollections"), collection_requests.list_collections, responses.all_collections
)
DELETE_COLLECTION = Rpc(
    Method(_COLLECTIONS, "DeleteCollection"), collection_requests.delete_collection, responses.nothing
)
UPDATE_ALIAS = Rpc(
    Method(_COLLECTIONS, "UpdateAlias"), collection_requests.update_alias, responses.previous_collection
)
SET_SUCCESSOR = Rpc(
    Method(_COLLECTIONS, "SetSuccessor"), collection_requests.set_successor, responses.settles_after
)
CREATE_PAYLOAD_INDEX = Rpc(
    Method(_COLLECTIONS, "CreatePayloadIndex"), collection_requests.create_payload_index, responses.nothing
)
DELETE_PAYLOAD_INDEX = Rpc(
    Method(_COLLECTIONS, "DeletePayloadIndex"), collection_requests.delete_payload_index, responses.nothing
)

MODEL = Rpc(Method(_ENCODER, "GetModel"), requests.model, responses.model)
ENCODE_TEXTS = BatchedRpc(Method(_ENCODER, "EncodeText"), requests.encode_texts, responses.text_vectors)
ENCODE_IMAGES = BatchedRpc(Method(_ENCODER, "EncodeImage"), requests.encode_images, responses.image_vectors)
CLASSIFY = BatchedRpc(Method(_ENCODER, "Classify"), requests.classify, responses.classifications)
