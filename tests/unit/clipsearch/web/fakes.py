"""Services that answer what a test tells them, and what tests make for them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import grpc
from google.rpc import status_pb2
from grpc_status import rpc_status
from PIL import Image

from clipsearch.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from clipsearch.search.v1 import collection_pb2, collection_pb2_grpc, search_pb2, search_pb2_grpc
from clipsearch.serving.errors import InvalidArgument, ResourceExhausted, ServiceError, to_status


class Told(
    search_pb2_grpc.SearchServiceServicer,
    collection_pb2_grpc.CollectionServiceServicer,
    encoder_pb2_grpc.EncoderServiceServicer,
):
    """Both services in one. `answers` and `errors` are by method; `requests` and `tokens` are what came.

    With `known` only those tokens are let in.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {
            "Search": search_pb2.SearchResponse(fingerprint="f1"),
            "SearchGroups": search_pb2.SearchGroupsResponse(),
            "Facet": search_pb2.FacetResponse(),
            "GetPoints": search_pb2.GetPointsResponse(),
            "ListPoints": search_pb2.ListPointsResponse(),
            "ListCollections": collection_pb2.ListCollectionsResponse(),
            "GetCollection": collection_pb2.GetCollectionResponse(),
            "GetModel": encoder_pb2.GetModelResponse(name="m", fingerprint="f1", weak_match_below=0.15),
            "Classify": encoder_pb2.ClassifyResponse(),
        }
        self.errors: dict[str, status_pb2.Status] = {}
        self.requests: list[Any] = []
        self.tokens: list[str | None] = []
        self.known: set[str] | None = None
        self.address = ""

    def _answer(self, method: str, request: Any, context: grpc.ServicerContext) -> Any:
        shown = dict(context.invocation_metadata()).get("authorization")
        token = str(shown).removeprefix("Bearer ") if shown else None
        self.requests.append(request)
        self.tokens.append(token)
        if self.known is not None and token not in self.known:
            refused = status(
                "UNAUTHENTICATED", "TOKEN_UNKNOWN" if token else "TOKEN_MISSING", "not known here"
            )
            context.abort_with_status(rpc_status.to_status(refused))
        if method in self.errors:
            context.abort_with_status(rpc_status.to_status(self.errors[method]))
        return self.answers[method]


for _name in Told().answers:

    def _method(self, request, context, name=_name):
        return self._answer(name, request, context)

    setattr(Told, _name, _method)


def status(code: str, reason: str, message: str, field: str = "", retry_s: int = 0) -> status_pb2.Status:
    """As a service says it."""
    error = ServiceError(message, reason)
    if field:
        error = InvalidArgument(field, message, reason)
    elif retry_s:
        error = ResourceExhausted(message, reason, retry_s)
    made = to_status(error)
    made.code = grpc.StatusCode[code].value[0]
    return made


def picture(
    path: Path | None = None, size: tuple[int, int] = (300, 200), format: str = "PNG", **save: Any
) -> bytes:
    """A picture file of one colour; written if a path is given."""
    data = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(data, format, **save)
    if path is not None:
        path.write_bytes(data.getvalue())
    return data.getvalue()
