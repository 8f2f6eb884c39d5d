"""The calls of both services, each once: how a request is made of what the caller gives, how the answer is
read. `sync` and `aio` make methods of them, with the request's parameters and description; their clients
derive from `Caller`, which holds the channel and finds the RPC of a request.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, SupportsFloat, TypeVar

import grpc
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from clipsearch.channel.credentials import ClientTls, bearer
from clipsearch.client import collection_requests, encoder_requests, requests, responses
from clipsearch.client.errors import ArgumentError, ArgumentTypeError, ClipSearchError, from_rpc_error
from clipsearch.client.inputs import string

_LONGEST_TIMEOUT_S = 1e9

P = ParamSpec("P")
Answer = TypeVar("Answer")
Channel = TypeVar("Channel", grpc.Channel, grpc.aio.Channel)


class Caller(Generic[Channel]):
    """A channel to one service. `timeout` is each call's deadline, in seconds.

    `token` is shown at each call. `tls` None = plaintext. Making one raises CredentialsError,
    AddressError, TypeError and ValueError.
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
        self.address = string(address or self._default, "address")
        self._timeout = _seconds(timeout)
        self._metadata = bearer(token)
        self._channel: Channel = self._connect(tls)
        self._methods: dict[type[Message], Callable[..., Any]] = {}

    def _connect(self, tls: ClientTls | None) -> Channel:
        raise NotImplementedError

    def _method(self, request: Message) -> Callable[..., Any]:
        """What makes the RPC that takes such a request, given the request's bytes.

        Each RPC has a kind of request of its own, in the file of its service.
        """
        method = self._methods.get(type(request))
        if method is None:
            kind: Any = request.DESCRIPTOR
            services = kind.file.services_by_name.values()
            found = next(one for each in services for one in each.methods if one.input_type is kind)
            method = self._methods[type(request)] = self._channel.unary_unary(
                f"/{found.containing_service.full_name}/{found.name}",
                response_deserializer=GetMessageClass(found.output_type).FromString,
            )
        return method

    def _failure(self, error: grpc.RpcError) -> ClipSearchError:
        return from_rpc_error(error, f"{self._kind} at {self.address}")


def _seconds(timeout: Any) -> float | None:
    """A timeout as gRPC takes it: a deadline beyond the end of its clock would be over at once."""
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, SupportsFloat):
        raise ArgumentTypeError(f"timeout: must be a number of seconds, is {timeout!r}")
    if not float(timeout) > 0:
        raise ArgumentError(f"timeout: must be more than 0 seconds, is {timeout!r}")
    return min(float(timeout), _LONGEST_TIMEOUT_S)


def _always(_: dict[str, Any]) -> bool:
    return True


def _has_image(options: dict[str, Any]) -> bool:
    query, context = options.get("query", ()), options.get("context", ())
    pairs = [pair for pair in context if isinstance(pair, Sequence)] if isinstance(context, Sequence) else []
    terms = [*(query if isinstance(query, Sequence) else ()), *(term for pair in pairs for term in pair)]
    return any(getattr(given, "image", None) is not None for given in terms) or (
        options.get("image") is not None
    )


@dataclass(frozen=True, slots=True)
class Rpc(Generic[P, Answer]):
    """One call. `reads_images` tells by the options whether making its request may read or encode images."""

    request: Callable[P, Message]
    read: Callable[[Any], Answer]
    reads_images: Callable[[dict[str, Any]], bool] = lambda options: False


@dataclass(frozen=True, slots=True)
class BatchedRpc(Generic[P, Answer]):
    """A call that is made several times for a long list.

    `read` is given the position of the response's first item in the list, and returns an answer an item.
    """

    request: Callable[P, Iterator[Message]]
    read: Callable[[Any, int], list[Answer]]


def describe(
    method: Callable[..., Any], call: Rpc[P, Any] | BatchedRpc[P, Any], returns: str | None = None
) -> None:
    """Gives a method that makes the call its name, description and parameters, as `help` shows them.

    `returns` None = what `read` does.
    """
    own, request = inspect.signature(method), inspect.signature(call.request)
    myself = next(iter(own.parameters.values())).replace(annotation=inspect.Parameter.empty)
    method.__name__ = method.__qualname__ = call.request.__name__  # of a coroutine that nobody awaits, too
    method.__doc__ = call.request.__doc__
    method.__signature__ = request.replace(  # type: ignore[attr-defined]
        parameters=[myself, *request.parameters.values()],
        return_annotation=returns or inspect.signature(call.read).return_annotation,
    )


# Making the request of a search takes no thread unless it has an image: it would cost more than all else.
SEARCH = Rpc(requests.search, responses.search_result, _has_image)
SEARCH_BATCH = Rpc(requests.search_batch, responses.search_results, _always)
SEARCH_GROUPS = Rpc(requests.search_groups, responses.grouped_result, _has_image)
UPSERT = Rpc(requests.upsert, responses.upsert_results, _always)
GET_POINTS = Rpc(requests.get_points, responses.stored_points)
DELETE_POINTS = Rpc(requests.delete_points, responses.deleted)
UPDATE_PAYLOAD = Rpc(requests.update_payload, responses.updated)
UPDATE_VECTORS = Rpc(requests.update_vectors, responses.upsert_results, _always)
DELETE_VECTORS = Rpc(requests.delete_vectors, responses.updated)
COUNT = Rpc(requests.count, responses.count)
FACET = Rpc(requests.facet, responses.facets)
LIST_POINTS = Rpc(requests.list_points, responses.page)
LIST_PAGE = Rpc(requests.list_page, responses.page)

CREATE_COLLECTION = Rpc(collection_requests.create_collection, responses.described)
GET_COLLECTION = Rpc(collection_requests.get_collection, responses.described)
UPDATE_COLLECTION = Rpc(collection_requests.update_collection, responses.described)
LIST_COLLECTIONS = Rpc(collection_requests.list_collections, responses.all_collections)
DELETE_COLLECTION = Rpc(collection_requests.delete_collection, responses.nothing)
UPDATE_ALIAS = Rpc(collection_requests.update_alias, responses.previous_collection)
SET_SUCCESSOR = Rpc(collection_requests.set_successor, responses.settles_after)
CREATE_PAYLOAD_INDEX = Rpc(collection_requests.create_payload_index, responses.nothing)
DELETE_PAYLOAD_INDEX = Rpc(collection_requests.delete_payload_index, responses.nothing)

MODEL = Rpc(encoder_requests.model, responses.model)
ENCODE_TEXTS = BatchedRpc(encoder_requests.encode_texts, responses.vectors)
ENCODE_IMAGES = BatchedRpc(encoder_requests.encode_images, responses.vectors)
CLASSIFY = BatchedRpc(encoder_requests.classify, responses.classifications)
