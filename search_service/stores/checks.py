"""What collections refuse, in the same words whatever the store."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from clipsearch.serving.errors import FailedPrecondition, FingerprintMismatch, InvalidArgument
from search_service.stores.collection import (
    CollectionSpec,
    IndexType,
    PayloadIndex,
    index_type,
)
from search_service.stores.protocol import (
    VECTOR_NAMES,
    StoredPoint,
    Vector,
)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


def valid_name(name: str) -> bool:
    """Whether it can name a collection or an alias (and, safely, a folder)."""
    return bool(_NAME.fullmatch(name)) and ".." not in name


def check_name(field: str, name: str) -> None:
    """Raises InvalidArgument for what cannot name a collection or an alias."""
    if not valid_name(name):
        raise InvalidArgument(
            field,
            f"{name[:140]!r} is not a name: 1 to 128 of A-Z a-z 0-9 _ - ., "
            "the first a letter or digit, no two dots in a row",
            "NAME_INVALID",
        )


def check_no_cluster(spec: CollectionSpec) -> None:
    """Raises InvalidArgument for shards and replicas: whoever asks for them relies on having them."""
    for field in ("shard_number", "replication_factor", "write_consistency_factor"):
        if getattr(spec, field) > 1:
            raise InvalidArgument(
                field,
                f"{getattr(spec, field)}; Qdrant Edge keeps a collection in one place, "
                "more than 1 needs a Qdrant server (QDRANT_URL)",
                "NEEDS_QDRANT_SERVER",
            )


def check_changes(spec: CollectionSpec, changes: Mapping[str, Any]) -> None:
    """Raises FailedPrecondition for settings that Qdrant Edge cannot change."""
    for field in ("replication_factor", "write_consistency_factor", "optimizers"):
        if field in changes:
            raise FailedPrecondition(
                f"{field}: is of a Qdrant server (QDRANT_URL); the collections here are Qdrant Edge's",
                "NEEDS_QDRANT_SERVER",
                {"field": field, "collection": spec.name},
            )
    if changes.get("quantization") == "none" != spec.quantization:
        raise FailedPrecondition(
            f"quantization: Qdrant Edge can change it from {spec.quantization}, but not remove it",
            "ENGINE_CANNOT_CHANGE",
            {"field": "quantization", "collection": spec.name},
        )


def check_fingerprint(spec: CollectionSpec, fingerprint: str, whose: str) -> None:
    """Raises FingerprintMismatch unless vectors of `fingerprint` belong into the collection."""
    if fingerprint != spec.fingerprint:
        raise FingerprintMismatch(spec.name, spec.fingerprint, fingerprint, whose)


def check_dimension(vector: Vector, spec: CollectionSpec, path: str) -> None:
    """Raises FailedPrecondition unless the vector fits the collection."""
    if len(vector) != spec.dimension:
        raise FailedPrecondition(
            f"{path}: has {len(vector)} numbers, those of collection {spec.name!r} have {spec.dimension}",
            "DIMENSION_MISMATCH",
            {
                "field": path,
                "collection": spec.name,
                "collection_dimension": str(spec.dimension),
                "request_dimension": str(len(vector)),
            },
        )


def check_points(spec: CollectionSpec, points: Sequence[StoredPoint]) -> None:
    """Raises InvalidArgument for a vector of another dimension or type, before anything is written."""
    for number, point in enumerate(points):
        for name in VECTOR_NAMES:
            vector = getattr(point, name)
            if vector is not None and (vector.shape != (spec.dimension,) or vector.dtype != np.float32):
                raise InvalidArgument(
                    f"points[{number}].{name}_vector",
                    f"{vector.dtype} of shape {vector.shape}; must be {spec.dimension} float32 numbers",
                    "DIMENSION_MISMATCH",
                )


def check_index(
    spec: CollectionSpec, key: str, types: Collection[IndexType], field: str, purpose: str
) -> None:
    """Raises FailedPrecondition unless the payload field has an index of one of these types.

    `field` of the request names it; what it is needed for: only such fields are `purpose`.
    """
    index = spec.payload_indexes.get(key)
    there = None if index is None else index_type(index)
    if there not in types:
        has = f"a payload index of type {there}" if there else "no payload index"
        *some, last = sorted(types)
        raise FailedPrecondition(
            f"{field}: field {key!r} of collection {spec.name!r} has {has}; only fields with one of type "
            f"{', '.join(some)} or {last} are {purpose}",
            "PAYLOAD_INDEX_NEEDED",
            {"field": field, "key": key, "collection": spec.name, "index_type": there or ""},
        )


def index_conflict(
    collection: str, key: str, there: PayloadIndex, wanted: PayloadIndex
) -> FailedPrecondition:
    """The field has a payload index of another type, or with other options."""
    has, type = index_type(there), index_type(wanted)
    but = f"not {type}" if has != type else "with other options"
    return FailedPrecondition(
        f"index.{'type' if has != type else 'text'}: field {key!r} has an index of type {has}, {but}; "
        "DeletePayloadIndex removes it",
        "PAYLOAD_INDEX_EXISTS",
        {"collection": collection, "field": key, "type": has},
    )
