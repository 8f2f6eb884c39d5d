"""Changes of payloads as Qdrant's operations."""

from __future__ import annotations

from collections.abc import Sequence

from qdrant_client import models

from search_service.stores.codec import VECTOR_NAMES_KEY
from search_service.stores.protocol import ID_KEY, VECTOR_NAMES, PayloadChange


def payload_operations(found: Sequence[models.Record], change: PayloadChange) -> list[models.UpdateOperation]:
    """What changes these points' payloads; they were read with the parts that are the store's own.

    By filters, because a point that is gone meanwhile is an error where it is named.
    """
    if change.whole:
        return [_overwrite(record, change) for record in found]
    there = models.Filter(must=[models.HasIdCondition(has_id=[record.id for record in found])])
    operations: list[models.UpdateOperation] = []
    if change.delete:
        keys = models.DeletePayload(keys=list(change.delete), filter=there)
        operations.append(models.DeletePayloadOperation(delete_payload=keys))
    if change.set:
        values = models.SetPayload(payload=dict(change.set), filter=there)
        operations.append(models.SetPayloadOperation(set_payload=values))
    return operations


def _overwrite(record: models.Record, change: PayloadChange) -> models.UpdateOperation:
    """Not of a point that was written with other vectors meanwhile: it was replaced as a whole."""
    kept = record.payload or {}
    own = {key: kept[key] for key in (ID_KEY, VECTOR_NAMES_KEY)}
    names = kept[VECTOR_NAMES_KEY].split()
    has = {name: models.HasVectorCondition(has_vector=name) for name in VECTOR_NAMES}
    there = models.Filter(
        must=[
            models.HasIdCondition(has_id=[record.id]),
            *(has[name] for name in VECTOR_NAMES if name in names),
        ],
        must_not=[has[name] for name in VECTOR_NAMES if name not in names],
    )
    values = models.SetPayload(payload={**change.set, **own}, filter=there)
    return models.OverwritePayloadOperation(overwrite_payload=values)
