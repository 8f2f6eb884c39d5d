"""What requests may hold: ids, paths into payloads, numbers of items, values of enums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

from clipsearch.filters.paths import PATH
from clipsearch.serving.errors import InvalidArgument
from search_service.settings import SearchSettings
from search_service.stores.protocol import RESERVED_PREFIX

_MAX_CHARACTERS = 512

Name = TypeVar("Name", bound=str)
Number = TypeVar("Number", bound=int)


class EnumNames(Generic[Name, Number]):
    """The names that an API's enum goes by here, in both directions; `default`: that of its 0."""

    def __init__(self, numbers: Mapping[Name, Number], default: Name | None = None) -> None:
        self.numbers = dict(numbers)
        self._names: dict[int, Name] = {number: name for name, number in numbers.items()}
        if default is not None:
            self._names[0] = default

    def name(self, number: int, field: str) -> Name:
        """The name of a request's number. Raises InvalidArgument."""
        if number not in self._names:
            raise InvalidArgument(
                field, f"{number} is none of this API's values; there are {', '.join(self.numbers)}"
            )
        return self._names[number]


def check_count(field: str, count: int, most: int, least: int = 1) -> None:
    """Raises InvalidArgument for too many or too few items."""
    if not least <= count <= most:
        allowed = f"{least} to {most} are allowed" if least else f"at most {most}"
        raise InvalidArgument(field, f"{count} given, {allowed}", "COUNT_OUT_OF_RANGE")


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
    check_count(field, len(ids), limits.max_ids)
    return tuple(check_id(id, f"{field}[{i}]", limits) for i, id in enumerate(ids))


def check_path(path: str, field: str) -> str:
    """Returns `path` if it is a path into a payload that callers may use. Raises InvalidArgument."""
    if not path:
        raise InvalidArgument(field, "empty; it must be the path of a payload field", "KEY_INVALID")
    if len(path) > _MAX_CHARACTERS:
        raise InvalidArgument(field, f"{len(path)} characters, at most {_MAX_CHARACTERS}", "KEY_INVALID")
    if not PATH.fullmatch(path):
        raise InvalidArgument(
            field,
            f"{path!r} is not a path of a payload field, such as price, shop.city, tags[] "
            'or, around other characters, "unit price"',
            "KEY_INVALID",
        )
    if path.lstrip('"').startswith(RESERVED_PREFIX):
        raise InvalidArgument(
            field, f"{path!r} starts with {RESERVED_PREFIX!r}, which is the service's own", "KEY_RESERVED"
        )
    return path
