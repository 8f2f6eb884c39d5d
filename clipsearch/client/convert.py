"""Vectors, terms, payloads and the words that callers choose from, between Python and the protos.

Payloads may hold what people have: NumPy numbers, dates, Decimal and the like become the JSON they mean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from os import PathLike, fspath
from typing import Any, SupportsFloat, TypeVar
from uuid import UUID

import numpy as np
from google.protobuf import struct_pb2
from numpy.typing import NDArray

from clipsearch.client import inputs
from clipsearch.client.errors import ArgumentError, ArgumentTypeError
from clipsearch.client.inputs import (
    Nearer,
    Newer,
    Point,
    Popular,
    Term,
    VectorLike,
    image_bytes,
    message,
    string,
)
from clipsearch.encoder.v1 import vector_pb2
from clipsearch.filters.expressions import EXACT_INTEGER
from clipsearch.search.v1 import collection_pb2, search_pb2

Name = TypeVar("Name", bound=str)
Value = TypeVar("Value")


def _words(enum: Any) -> dict[Any, Any]:
    """By the value's name without what all begin with; 0 is "unspecified" and has no word."""
    prefix = enum.Name(0).removesuffix("UNSPECIFIED")
    return {name.removeprefix(prefix).lower(): value for name, value in enum.items() if value}


TARGETS: dict[inputs.Target, search_pb2.Target.ValueType] = _words(search_pb2.Target)
STRATEGIES: dict[inputs.Strategy, search_pb2.Strategy.ValueType] = _words(search_pb2.Strategy)
KINDS: dict[inputs.Kind, search_pb2.TermKind.ValueType] = _words(search_pb2.TermKind)
FUSIONS: dict[inputs.Fusion, search_pb2.Fusion.ValueType] = _words(search_pb2.Fusion)
INDEX_TYPES: dict[inputs.IndexType, collection_pb2.PayloadIndexType.ValueType] = {
    "tenant": collection_pb2.PAYLOAD_INDEX_TYPE_KEYWORD,  # and `is_tenant`
    **_words(collection_pb2.PayloadIndexType),
}
QUANTIZATIONS: dict[inputs.Quantization, collection_pb2.Quantization.ValueType] = _words(
    collection_pb2.Quantization
)
TOKENIZERS: dict[inputs.Tokenizer, collection_pb2.TokenizerType.ValueType] = _words(
    collection_pb2.TokenizerType
)
ENCODINGS: dict[inputs.BinaryEncoding, collection_pb2.BinaryEncoding.ValueType] = _words(
    collection_pb2.BinaryEncoding
)
QUERY_ENCODINGS: dict[inputs.BinaryQueryEncoding, collection_pb2.BinaryQueryEncoding.ValueType] = {
    word.replace("scalar_", "scalar"): value
    for word, value in _words(collection_pb2.BinaryQueryEncoding).items()
}


def choice(field: str, value: Name, known: Mapping[Name, Value]) -> Value:
    """What stands for a word of the caller. Raises ValueError for one that is not known."""
    if not isinstance(value, str) or value not in known:
        raise ArgumentError(f"{field}: {value!r} is none of {', '.join(known)}")
    return known[value]


_F32 = np.dtype("<f4")
# Kinds of NumPy that are real numbers, or may be (objects: Decimal). Text, times and complex ones are not.
_REAL = "biufO"
# A level of a dict is three messages inside one another, and protobuf reads a hundred.
_MOST_DEEP = 30


def f32(numbers: VectorLike, where: str) -> bytes:
    """Numbers as little-endian float32. Raises TypeError and ValueError unless they are, in one dimension."""
    if type(numbers) is np.ndarray and numbers.dtype == _F32:
        array: NDArray[Any] = numbers  # at once: bulk loading sends thousands a second
    else:
        array = _as_f32(numbers, where)
    if array.ndim != 1:
        raise ArgumentError(f"{where}: must have one dimension, its shape is {array.shape}")
    return array.tobytes()


def _as_f32(numbers: VectorLike, where: str) -> NDArray[np.float32]:
    try:
        given = np.asarray(numbers)
        with np.errstate(over="ignore"):  # what is too large becomes infinite, which the service refuses
            array = given.astype(_F32) if given.dtype.kind in _REAL else None
    except (TypeError, ValueError, OverflowError) as error:
        raise inputs.unfit(error, f"{where}: must be a list of numbers ({error})") from None
    if array is None:
        raise ArgumentTypeError(f"{where}: must be a list of numbers, is one of NumPy's type {given.dtype}")
    if np.ma.is_masked(numbers):
        raise ArgumentError(f"{where}: must be a list of numbers, some of these are masked")
    return array


def array(vector: vector_pb2.Vector) -> NDArray[np.float32]:
    """A vector as float32 [dimension]."""
    if vector.f32:
        return np.frombuffer(vector.f32, dtype="<f4").astype(np.float32)
    return np.array(vector.values, dtype=np.float32)


def fill_struct(struct: struct_pb2.Struct, payload: Mapping[str, Any], where: str) -> None:
    """Puts a payload into an empty Struct.

    Raises ValueError, with the path of the key, for what is not JSON, means nothing that is, or would
    not come back the same.
    """
    if not isinstance(payload, Mapping):
        raise ArgumentError(f"{where}: must be a dict, is of type {type(payload).__name__}")
    struct.update(plain(payload, where))


def payload(struct: struct_pb2.Struct) -> dict[str, Any]:
    """A Struct as a dict. Its numbers are float64; those without a fraction become int, up to 2**53."""
    return {key: _json(value) for key, value in struct.fields.items()}


def _json(value: struct_pb2.Value) -> Any:
    match value.WhichOneof("kind"):
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() and abs(number) <= EXACT_INTEGER else number
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return payload(value.struct_value)
        case "list_value":
            return [_json(item) for item in value.list_value.values]
        case _:
            return None


def plain(value: Any, where: str, depth: int = 0) -> Any:
    """The value as None, bool, int, float, str, list or dict. `where` is its error path.

    A Struct holds float64 only: a larger integer would come back as another one. Raises ValueError.
    """
    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind is str:
        return string(value, where)
    if kind is int or kind is float:
        return _number(value, where)
    if depth >= _MOST_DEEP:
        raise ArgumentError(f"{where}: more than {_MOST_DEEP} lists and dicts inside one another")
    if kind is list or kind is tuple:
        return [plain(item, f"{where}[{i}]", depth + 1) for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        return {_key(key, where): plain(item, f"{where}.{key}", depth + 1) for key, item in value.items()}
    return _meant(value, where, depth)


def _meant(value: Any, where: str, depth: int) -> Any:
    match value:
        case Enum():
            return plain(value.value, where, depth + 1)
        case np.datetime64():
            return _numpy_time(value, where)
        case np.timedelta64():
            pass
        case np.ndarray() if value.dtype.kind in "mM":
            return [plain(item, f"{where}[{i}]", depth + 1) for i, item in enumerate(value)]
        case np.ndarray():
            return plain(value.tolist(), where, depth + 1)
        case np.bool_() | np.integer() | np.floating() | np.str_():
            return plain(value.item(), where, depth + 1)
        case str():
            return string(str(value), where)
        case int() | float():
            return _number(value, where)
        case Decimal():
            return _decimal(value, where)
        case datetime() if value == value:  # pandas' NaT is a datetime, and no time
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
        case date() if not isinstance(value, datetime):
            return value.isoformat()
        case UUID():
            return str(value)
        case PathLike() if isinstance(fspath(value), str):
            return string(fspath(value), where)
        case list() | tuple():
            return plain(list(value), where, depth)
        case set() | frozenset():
            items = [plain(item, f"{where}{{{item!r}}}", depth + 1) for item in value]
            return sorted(items, key=lambda item: (type(item).__name__, repr(item)))
    raise ArgumentError(
        f"{where}: {str(value)[:40]!r} is of type {type(value).__name__}, which JSON has nothing for; "
        "it must be None, a boolean, a number, a string, a time, or a list or dict of them"
    )


def _key(key: Any, where: str) -> str:
    if isinstance(key, Enum):
        key = key.value
    if not isinstance(key, str):
        raise ArgumentError(f"{where}: the key {key!r} is of type {type(key).__name__}; keys are strings")
    return string(str(key), f"{where}: key")


def _number(number: float, where: str) -> int | float:
    if isinstance(number, int):
        if abs(number) > EXACT_INTEGER:
            # Python writes no integer of more than 4300 digits.
            said = number if number.bit_length() <= 1024 else f"an integer of {number.bit_length():,} bits"
            raise ArgumentError(f"{where}: {said} is beyond 2**53 and would be rounded; send it as a string")
        return int(number)
    if not math.isfinite(number):
        raise ArgumentError(
            f"{where}: {number} is no number that JSON has; leave the field out, or send None"
        )
    return float(number)


def _decimal(number: Decimal, where: str) -> int | float:
    if not number.is_finite():
        raise ArgumentError(
            f"{where}: {number} is no number that JSON has; leave the field out, or send None"
        )
    if number == number.to_integral_value() and number.adjusted() < 20:
        return _number(int(number), where)
    if Decimal(repr(float(number))) != number:
        raise ArgumentError(
            f"{where}: {number} has more digits than float64 and would be rounded; send it as a string"
        )
    return float(number)


def _numpy_time(value: np.datetime64, where: str) -> str:
    if np.isnat(value):
        raise ArgumentError(f"{where}: NaT is no time; leave the field out, or send None")
    text = str(np.datetime_as_string(value))
    return f"{text}Z" if "T" in text and text.count(":") else text


def fill_point(proto: search_pb2.Point, point: Point, where: str) -> None:
    """Puts a point into its message. Raises TypeError, ValueError and OSError."""
    proto.id = inputs.point_id(point.id, f"{where}.id")
    if point.image is not None:
        proto.image = image_bytes(point.image, f"point {point.id!r}: image")
    if point.text is not None:
        proto.text = string(point.text, f"point {point.id!r}: text")
    if point.image_vector is not None:
        proto.image_vector.f32 = f32(point.image_vector, f"point {point.id!r}: image_vector")
    if point.text_vector is not None:
        proto.text_vector.f32 = f32(point.text_vector, f"point {point.id!r}: text_vector")
    if point.payload:
        fill_struct(proto.payload, point.payload, f"point {point.id!r}: payload")


def fill_term(proto: search_pb2.QueryTerm, term: Term, where: str) -> None:
    """Puts a term of a query into its message. Raises ValueError, naming where it stands."""
    given = [name for name in ("text", "image", "vector", "point_id") if getattr(term, name) is not None]
    if len(given) != 1:
        raise ArgumentError(
            f"{where}: must hold exactly one of text, image, vector and point_id, holds {given or 'none'}"
        )
    proto.weight = _real(term.weight, f"{where}.weight")
    if term.kind is not None:
        if term.vector is None:
            raise ArgumentError(f"{where}: kind is of a vector only; the kind of other terms is known")
        proto.kind = choice(f"{where}.kind", term.kind, KINDS)
    if term.vector_name is not None:
        if term.point_id is None:
            raise ArgumentError(f"{where}: vector_name is of a point_id only; other terms have one vector")
        proto.vector_name = choice(f"{where}.vector_name", term.vector_name, TARGETS)
    if term.text is not None:
        proto.text = inputs.string(term.text, f"{where}.text")
    elif term.image is not None:
        proto.image = image_bytes(term.image, f"{where}.image")
    elif term.vector is not None:
        proto.vector.f32 = f32(term.vector, f"{where}.vector")
    elif term.point_id is not None:
        proto.point_id = inputs.point_id(term.point_id, f"{where}.point_id")


def fill_boost(proto: search_pb2.Boost, boost: Any, where: str) -> None:
    """Puts a boost into its message. Raises TypeError, naming where it stands."""
    if not isinstance(boost, inputs.Boost):
        raise ArgumentTypeError(
            f"{where}: must be Newer, Nearer or Popular, is of type {type(boost).__name__}"
        )
    called = f"{where}.{{}}".format
    key = string(boost.key, called("key"))
    match boost:
        case Newer(scale_s=scale_s):
            target: Any = boost.target  # protobuf takes a datetime
            newer = message(search_pb2.Newer, called, key=key, scale_s=scale_s, target=target)
            proto.newer.CopyFrom(newer)
        case Nearer(lat=lat, lon=lon, scale_m=scale_m):
            nearer = message(search_pb2.Nearer, called, key=key, lat=lat, lon=lon, scale_m=scale_m)
            proto.nearer.CopyFrom(nearer)
        case Popular(scale=scale):
            proto.popular.CopyFrom(message(search_pb2.Popular, called, key=key, scale=scale))
    proto.weight = _real(boost.weight, called("weight"))


def fill_pair(proto: search_pb2.ContextPair, pair: Any, where: str) -> None:
    """Puts two terms into their messages, likewise."""
    both = inputs.each(pair, Term, where, "two terms")
    if len(both) != 2:
        raise ArgumentError(f"{where}: must be two terms, are {len(both)}")
    sides = ("positive", proto.positive, both[0]), ("negative", proto.negative, both[1])
    for name, side, term in sides:
        fill_term(side, term, f"{where}.{name}")
        if term.weight != 1:
            raise ArgumentError(f"{where}.{name}: terms of a context have no weight")
        side.ClearField("weight")


def hybrid(weight: bool | float) -> search_pb2.Hybrid | None:
    """Whether words are looked up too, or with what weight. Raises TypeError for what is neither."""
    if isinstance(weight, bool | np.bool_):
        return search_pb2.Hybrid() if weight else None
    if not isinstance(weight, SupportsFloat):
        raise ArgumentTypeError(f"hybrid: must be True, False or a weight, is {weight!r}")
    return search_pb2.Hybrid(weight=float(weight))


def order(key: str | None, descending: bool, start: float | datetime | None) -> search_pb2.OrderBy | None:
    """The order of a list. Raises ValueError for a direction or a start without a field."""
    if key is None:
        if descending or start is not None:
            raise ArgumentError("descending, start_from: they are of an order, give order_by")
        return None
    direction = search_pb2.DIRECTION_DESC if descending else search_pb2.DIRECTION_ASC
    by = search_pb2.OrderBy(key=string(key, "order_by"), direction=direction)
    if isinstance(start, datetime):
        by.time.FromDatetime(start)
    elif start is not None:
        by.number = _real(start, "start_from")
    return by


def _real(given: Any, where: str) -> float:
    """A number. NumPy's are numbers too; true and false are none."""
    if isinstance(given, bool | np.bool_) or not isinstance(given, SupportsFloat):
        raise ArgumentTypeError(f"{where}: must be a number, is {given!r}")
    return float(given)
