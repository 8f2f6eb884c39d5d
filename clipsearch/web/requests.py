"""What the page sends, checked: JSON to plain values, each error naming its field, and its filters."""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Sequence
from datetime import UTC, tzinfo
from typing import Annotated, Any, Literal, Self, TypeVar
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from clipsearch.client.inputs import Target, Term
from clipsearch.filters.expressions import FilterError, compared
from clipsearch.filters.paths import PATH, quoted
from clipsearch.web.errors import WebError, bad

MAX_LIMIT = 100
MAX_TERMS = 32
MAX_CONDITIONS = 32
MAX_LABELS = 256
MAX_PROMPT = 4_096  # characters of a label, and of the sentence that it is put into

MAX_NAME = 2_048  # characters of a collection's name, an id, a field: services quote them in errors

# Characters, a multiple of 4. To decode an image at once holds Python's lock for 100 ms.
_SLICE = 256 * 1024

_ERROR_PATH = re.compile(r"^filter\.(must|must_not)\[(\d+)\]")

SideName = Literal["a", "b"]


def _decoded(value: Any) -> bytes:
    if not isinstance(value, str):
        raise PydanticCustomError("base64", "must be a string of base64")
    try:
        if "=" in value[:-2]:  # the end of a slice would be taken for the end of all
            raise ValueError
        slices = (value[start : start + _SLICE] for start in range(0, len(value), _SLICE))
        return b"".join(binascii.a2b_base64(part, strict_mode=True) for part in slices)
    except (ValueError, binascii.Error):
        raise PydanticCustomError("base64", "is not base64") from None


Label = Annotated[str, Field(max_length=MAX_PROMPT)]
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
ImageBytes = Annotated[bytes, BeforeValidator(_decoded)]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class TermAsked(_Asked):
    """One term: exactly one of text, image (base64) and point_id."""

    text: str | None = None
    image: ImageBytes | None = None
    point_id: Name | None = None
    weight: float = 1.0

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(part is not None for part in (self.text, self.image, self.point_id)) != 1:
            raise PydanticCustomError("one_of", "must hold exactly one of text, image and point_id")
        return self

    def term(self) -> Term:
        """For the client."""
        return Term(text=self.text, image=self.image, point_id=self.point_id, weight=self.weight)


class Typed(_Asked):
    """A value, or several, as somebody typed it: what stands after the operator of a filter expression."""

    typed: Annotated[str, Field(max_length=64 * 1024)]


class ConditionAsked(_Asked):
    """One condition. The JSON type of `value` says what is compared; of a list any of its values will do."""

    field: Name
    op: Literal["=", "!=", "<", "<=", ">", ">=", "~", "~~", "@"]
    value: str | bool | int | float | list[str | int] | Typed


class SearchAsked(_Asked):
    """A search."""

    side: SideName = "a"
    collection: Name
    terms: Annotated[list[TermAsked], Field(min_length=1, max_length=MAX_TERMS)]
    target: Target = "any"
    only_matches: bool = False
    hybrid: bool = False
    filter: Annotated[list[ConditionAsked], Field(max_length=MAX_CONDITIONS)] = []
    time_zone: Annotated[str, Field(max_length=64)] = ""  # of the browser: whose days the filter means
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT)] = 24
    offset: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    group_by: Name | None = None  # a payload field; `limit` then counts groups


class PointAsked(_Asked):
    """A stored point."""

    collection: Name
    id: Name


class ClassifyAsked(_Asked):
    """An image, or a stored point that names one, and labels."""

    side: SideName = "a"
    image: ImageBytes | None = None
    point: PointAsked | None = None
    labels: Annotated[list[Label], Field(min_length=1, max_length=MAX_LABELS)]
    template: Annotated[str, Field(max_length=MAX_PROMPT)] = ""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.image is None) == (self.point is None):
            raise PydanticCustomError("one_of", "give either image or point")
        return self


class TokenAsked(_Asked):
    """A token to sign in with."""

    token: Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[A-Za-z0-9._~+/=-]+$")]


Asked = TypeVar("Asked", bound=_Asked)


def read(kind: type[Asked], body: bytes | bytearray) -> Asked:
    """The request in a body. Raises WebError for the first thing that is wrong with it."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = _path(first["loc"])
        if first["type"] == "json_invalid":
            raise WebError(400, "NOT_JSON", "the request is not JSON") from None
        raise bad(field, f"{field or 'the request'}: {first['msg']}") from None


def _path(location: tuple[int | str, ...]) -> str | None:
    """`("terms", 0, "text")` as `terms[0].text`. What follows a value is pydantic's name of a type."""
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
        if part == "value":
            break
    return path or None


class PageFilter:
    """All conditions must hold; `json` is the filter in Qdrant's form, None without conditions."""

    def __init__(self, conditions: Sequence[ConditionAsked], time_zone: str = "") -> None:
        """`time_zone` says whose days are meant, "" = UTC's. Raises WebError for what makes no sense."""
        zone = _zone(time_zone)
        self._numbers: dict[str, list[int]] = {"must": [], "must_not": []}
        clauses: dict[str, list[dict[str, Any]]] = {"must": [], "must_not": []}
        for number, condition in enumerate(conditions):
            name, op, values = condition.field, condition.op, _typed(condition.value)
            # A name as people write it; whatever else it is, the service refuses it.
            key = name if PATH.fullmatch(name) else quoted(name) or name
            try:
                clause, one = compared(f"{key}{op}{values}", key, op, values, zone)
            except FilterError as error:
                _, _, message = str(error).partition(": ")
                raise bad(f"filter[{number}].value", message) from None
            clauses[clause].append(one)
            self._numbers[clause].append(number)
        self.json = {name: some for name, some in clauses.items() if some} or None

    def page_field(self, field: str) -> str:
        """`filter.must[0].field.key` as the page knows it: `filter[2]`."""
        found = _ERROR_PATH.match(field)
        numbers = self._numbers[found[1]] if found else []
        return f"filter[{numbers[int(found[2])]}]" if found and int(found[2]) < len(numbers) else field


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name) if name else UTC
    except (OSError, ValueError, KeyError):  # a folder's name, a path, or none that there is
        raise bad("time_zone", f"{name!r} is no time zone that is known here") from None


def _typed(value: str | bool | int | float | list[str | int] | Typed) -> str:
    """The value as it would be typed."""
    if isinstance(value, Typed):
        return value.typed
    values = value if isinstance(value, list) else [value]
    return "|".join(
        '"{}"'.format(one.replace('"', '""')) if isinstance(one, str) else json.dumps(one) for one in values
    )
