"""The rule for paths into a payload, the same for filters, indexes and field selection."""

from __future__ import annotations

from clipsearch.filters.paths import PATH
from clipsearch.serving.errors import InvalidArgument
from search_service.stores.protocol import RESERVED_PREFIX

_MAX_CHARACTERS = 512


def check_key(key: str, field: str) -> str:
    """Returns `key` if it is a path into a payload that callers may use. Raises InvalidArgument."""
    if not key:
        raise InvalidArgument(field, "empty; it must be the path of a payload field", "KEY_INVALID")
    if len(key) > _MAX_CHARACTERS:
        raise InvalidArgument(field, f"{len(key)} characters, at most {_MAX_CHARACTERS}", "KEY_INVALID")
    if not PATH.fullmatch(key):
        raise InvalidArgument(
            field,
            f"{key!r} is not a path of a payload field, such as price, shop.city, tags[] "
            'or, around other characters, "unit price"',
            "KEY_INVALID",
        )
    if key.lstrip('"').startswith(RESERVED_PREFIX):
        raise InvalidArgument(
            field, f"{key!r} starts with {RESERVED_PREFIX!r}, which is the service's own", "KEY_RESERVED"
        )
    return key
