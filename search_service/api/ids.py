"""The rule for the ids of points."""

from __future__ import annotations

from collections.abc import Sequence

from clipsearch.serving.errors import InvalidArgument
from search_service.settings import SearchSettings


def check_id(point_id: str, field: str, limits: SearchSettings) -> str:
    """Returns `point_id` if it may be one. Raises InvalidArgument."""
    if not point_id:
        raise InvalidArgument(field, "empty", "ID_INVALID")
    size = len(point_id.encode())
    if size > limits.max_id_bytes:
        raise InvalidArgument(field, f"{size} bytes, at most {limits.max_id_bytes}", "ID_INVALID")
    return point_id


def check_ids(ids: Sequence[str], field: str, limits: SearchSettings) -> tuple[str, ...]:
    """Returns `ids` if each may be one and their number is allowed. Raises InvalidArgument."""
    if not 1 <= len(ids) <= limits.max_ids:
        raise InvalidArgument(
            field, f"{len(ids)} given, 1 to {limits.max_ids} are allowed", "COUNT_OUT_OF_RANGE"
        )
    return tuple(check_id(id, f"{field}[{i}]", limits) for i, id in enumerate(ids))
