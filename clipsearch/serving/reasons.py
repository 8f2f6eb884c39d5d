"""Every `ErrorInfo.reason` that callers may meet, with its status and what it means. Reasons are stable.

A test compares this list with the code, so that neither has one that the other lacks.
"""

from __future__ import annotations

from typing import NamedTuple


class Reason(NamedTuple):
    """The gRPC status that a reason comes with (inside an item's result too), and its meaning."""

    status: str
    meaning: str


_INVALID = "INVALID_ARGUMENT"
_PRECONDITION = "FAILED_PRECONDITION"
_EXHAUSTED = "RESOURCE_EXHAUSTED"

REASONS: dict[str, Reason] = {
    # Whoever calls
    "TOKEN_MISSING": Reason("UNAUTHENTICATED", "no bearer token, and no client certificate that is known"),
    "TOKEN_UNKNOWN": Reason("UNAUTHENTICATED", "the bearer token is not in the tokens file"),
    "SCOPE_MISSING": Reason("PERMISSION_DENIED", "the caller has not the scope that the method needs"),
    "COLLECTION_FORBIDDEN": Reason("PERMISSION_DENIED", "the caller is restricted to other collections"),
    "RATE_LIMITED": Reason(_EXHAUSTED, "the caller makes more calls a second than it may"),
    # Any call
    "TOO_MANY_CALLS": Reason(_EXHAUSTED, "the server is at its limit of calls in progress"),
    "REQUEST_MEMORY_FULL": Reason(_EXHAUSTED, "the server holds as many bytes of requests as it takes"),
    "REQUEST_TOO_LARGE": Reason(_INVALID, "the request takes more memory than one may when it is read"),
    "DEADLINE_EXCEEDED": Reason("DEADLINE_EXCEEDED", "the deadline passed before the work was done"),
    "REQUEST_NOT_DECODABLE": Reason(_INVALID, "the bytes are no valid message, a string is no UTF-8, say"),
    "INTERNAL": Reason("INTERNAL", "a fault of the server; the metadata's `incident` is in its log too"),
    "INVALID_FIELD": Reason(_INVALID, "the field's value is not allowed, as the message says"),
    "COUNT_OUT_OF_RANGE": Reason(_INVALID, "too few or too many elements in the field"),
    # Images and texts
    "IMAGE_EMPTY": Reason(_INVALID, "a picture of 0 bytes"),
    "IMAGE_TOO_LARGE": Reason(_INVALID, "more bytes than a picture may have"),
    "IMAGE_TOO_MANY_PIXELS": Reason(_INVALID, "decoding the picture takes more memory or time than one may"),
    "IMAGE_UNSUPPORTED_FORMAT": Reason(_INVALID, "not a picture, or of a kind that is not read here"),
    "IMAGE_TRUNCATED": Reason(_INVALID, "the data ends before the picture does"),
    "IMAGE_INVALID": Reason(_INVALID, "the picture is damaged and cannot be decoded"),
    "TEXT_EMPTY": Reason(_INVALID, "a text, label or prompt in which nothing is seen, or no token remains"),
    "TEXT_TOO_LARGE": Reason(_INVALID, "more bytes than a text may have"),
    "LABEL_REPEATED": Reason(_INVALID, "the same label twice"),
    # The encoder's queue
    "QUEUE_FULL": Reason(_EXHAUSTED, "the encoder has as much work as it takes"),
    "OUT_OF_MEMORY": Reason(_EXHAUSTED, "the encoder ran out of memory while it decoded a picture"),
    "WAIT_EXCEEDS_DEADLINE": Reason(_EXHAUSTED, "the wait would be longer than the caller's deadline"),
    # Vectors and queries
    "VECTOR_INVALID": Reason(_INVALID, "a vector in neither or in both of its encodings, or of broken bytes"),
    "VECTOR_NOT_FINITE": Reason(_INVALID, "a vector with NaN or infinity"),
    "VECTOR_ZERO": Reason(_INVALID, "a vector of length 0 has no direction"),
    "DIMENSION_MISMATCH": Reason(
        f"{_PRECONDITION}, {_INVALID}", "a vector has not as many numbers as the collection's"
    ),
    "FINGERPRINT_MISMATCH": Reason(
        _PRECONDITION, "the collection was filled by another model; both are named"
    ),
    "WEIGHT_INVALID": Reason(_INVALID, "a weight that is 0, not finite or too large"),
    "LIMIT_TOO_LARGE": Reason(_INVALID, "more hits, or more points a page, than may be asked for"),
    "FUSION_TOO_DEEP": Reason(_INVALID, "offset and limit reach beyond the hits that RRF and DBSF rank"),
    "WINDOW_TOO_LARGE": Reason(_INVALID, "offset and limit together reach too far; ListPoints pages further"),
    "QUERY_NEGATIVE_ONLY": Reason(_INVALID, "a query of negative weights alone"),
    "QUERY_ZERO": Reason(_INVALID, "the terms of the query cancel one another"),
    "NOT_ENCODABLE": Reason(_INVALID, "the encoder refused the input without a reason of its own"),
    # Filters, ids, payloads, pages
    "FILTER_INCOMPLETE": Reason(_INVALID, "a condition without its key or its value"),
    "FILTER_TOO_DEEP": Reason(_INVALID, "filters inside one another, deeper than allowed"),
    "FILTER_EMPTY": Reason(_INVALID, "a filter that matches everything where that is not meant"),
    "FILTER_TYPE_MISMATCH": Reason(_INVALID, "the condition does not go with the type of the field"),
    "FILTER_FIELD_UNKNOWN": Reason(
        _INVALID, "no point has the field; nothing, or all, would be found or deleted"
    ),
    "KEY_INVALID": Reason(_INVALID, "not the path of a payload field"),
    "KEY_RESERVED": Reason(_INVALID, "the payload key is reserved for the service"),
    "ID_INVALID": Reason(_INVALID, "an id that is empty or too long"),
    "POINT_EMPTY": Reason(_INVALID, "a point without picture, text and vectors"),
    "PAYLOAD_TOO_LARGE": Reason(_INVALID, "a payload of more bytes than allowed"),
    "PAGE_TOKEN_INVALID": Reason(_INVALID, "not a token that ListPoints has given"),
    "POINT_NOT_FOUND": Reason("NOT_FOUND", "the query names a point that does not exist"),
    # Collections
    "NAME_INVALID": Reason(_INVALID, "not a name for a collection or alias"),
    "COLLECTION_NOT_FOUND": Reason("NOT_FOUND", "there is no collection or alias of this name"),
    "COLLECTION_EXISTS": Reason("ALREADY_EXISTS", "the name of the collection is taken"),
    "COLLECTION_DAMAGED": Reason(_PRECONDITION, "files of the collection cannot be used; it can be deleted"),
    "NEEDS_QDRANT_SERVER": Reason(_INVALID, "shards or replicas, and no Qdrant server to keep them"),
    "COLLECTION_NOT_OURS": Reason(_PRECONDITION, "the collection was not made by this service"),
    "ALIAS_NOT_FOUND": Reason("NOT_FOUND", "there is no alias of this name"),
    "ALIAS_BROKEN": Reason(_PRECONDITION, "the alias points at a collection that does not exist"),
    "ALIASES_DAMAGED": Reason(_PRECONDITION, "no collection has the name, and the aliases cannot be read"),
    "ALIAS_EXISTS": Reason("ALREADY_EXISTS", "the name of the alias is taken by a collection"),
    "ALIAS_NOT_COLLECTION": Reason(_INVALID, "the call needs the collection itself, not an alias"),
    "MODEL_UNKNOWN": Reason(_INVALID, "none of the encoders runs a model of this name or fingerprint"),
    "INDEX_REPEATED": Reason(_INVALID, "two payload indexes on one field"),
    "PAYLOAD_INDEX_EXISTS": Reason(_PRECONDITION, "the field has an index of another type"),
    "SUCCESSOR_LACKS_POINT": Reason(
        _PRECONDITION, "a point with a ready vector cannot be encoded for the collection's successor"
    ),
    # Dependencies of the search service
    "ENCODER_UNAVAILABLE": Reason("UNAVAILABLE", "the encoder cannot be reached, or is starting or draining"),
    "ENCODER_FULL": Reason(_EXHAUSTED, "the encoder is full and did not say more"),
    "ENCODER_REFUSED": Reason(_PRECONDITION, "the encoder's limits are tighter than this service's batches"),
    "ENCODER_FAILED": Reason("INTERNAL", "the encoder failed in a way that it should not"),
    "STORE_UNAVAILABLE": Reason("UNAVAILABLE", "the vector store cannot be reached or used"),
    "STORE_BUSY": Reason(_EXHAUSTED, "the vector store has as much work as it takes"),
    "STORE_REFUSED": Reason(_INVALID, "the vector store refuses the request, as the message says"),
    "STORE_LOCKED": Reason(
        _PRECONDITION, "the Qdrant server is locked, or does not do this in its present state"
    ),
    "STORE_TOO_OLD": Reason(_PRECONDITION, "the Qdrant server lacks what the call needs"),
    "STORE_DATA_LOSS": Reason("DATA_LOSS", "the vector store has found data of its own to be damaged"),
    "STORE_DISK_FULL": Reason(_EXHAUSTED, "the vector store's disk is full; what was written before stays"),
}


def markdown_table() -> str:
    """A row for each reason: reason, status, meaning. docs/errors.md is made of it."""
    rows = [f"| `{name}` | {reason.status} | {reason.meaning} |" for name, reason in REASONS.items()]
    return "\n".join(["| Reason | Status | Meaning |", "|---|---|---|", *rows]) + "\n"
