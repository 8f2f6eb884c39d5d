"""Structured messages that mean harm: well-formed on the wire, with an extreme value here and there.

The strategies are made from the descriptors; a field's name decides what would be plausible in it. A
field is plausible eleven times in twelve, so that about half of the messages get past every check and
reach the model and the store.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from clipsearch.encoder.v1 import vector_pb2
from clipsearch.search.v1 import filter_pb2
from tests.fuzz.pictures import SMALLEST

COLLECTION, ALIAS, READY = "fuzz", "fuzz-alias", "fuzz-ready"
READY_DIMENSION, DIMENSION = 4, 512
IDS = [f"p{number}" for number in range(40)]

_BAD_TEXTS = [
    "", " ", "\n", "\0", "{}", "{0.__class__}", "%s%n", "a" * 65536, "\u202e\ufeff", "\ufffe\uffff", "-1",
    "null",
    "\U0001f9d1\u200d\U0001f680" * 40, "e\u0301" * 200, "\u0130stanbul", "word " * 9000,
    "'; DROP TABLE points; --",
]  # fmt: skip
_BAD_NAMES = [
    "absent", COLLECTION, "", ".", "..", "a/b", "../../x", "a" * 128, "a" * 129, "a\0b", "CON", "-x",
    "\u00fc",
    ".made-1.new", "a..b",
]  # fmt: skip
_KEYS = [
    "keyword", "integer", "float", "bool", "datetime", "text", "plain", "nested", "nested.list[].x",
    "nested.list[0].x",
    "a[0][0][0]", "a[].b[].c[]", '"with space"', "\u00e4", "plain.deeper.still",
]  # fmt: skip
_BAD_KEYS = [
    "", "_clipsearch", "_clipsearch_id", '"_clipsearch_id"', "a..b", "[]", "a[", "a[99999999999]", '"',
    'a"b', "a.b" * 300,
    "a[-1]", "$.x", ".", "a b",
]  # fmt: skip
_BAD_TOKENS = ["0", "x" * 9000, "{}", "00000000000000000000000000000000", " "]
_FINITE = [0.0, -0.0, 1.0, -1.0, 0.5, 3.4e38, -3.4e38, 1e-45, 1e-30, 1e30, 100.0, 2.0**53]
_BAD_FLOATS = [math.nan, math.inf, -math.inf]
_FINITE_DOUBLES = [*_FINITE, 1.7e308, -1.7e308, 5e-324, 2.0**63, -(2.0**63), 2.0**53 + 2, 0.1]
_BAD_NUMBERS = [0, 64, 65, 256, 257, 1000, 1001, 4096, 4097, 10_000, 65_535, 65_536]
_RANGES = {
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
}
# Past the limits of the settings: 64 images, 256 texts and points, 1000 ids.
_MANY = (17, 65, 257, 1001, 5000)
_MOST_BYTES = 500_000
# The limit of the settings is 8. Past 45 neither end decodes the message: that is wire.py's part.
_DEPTHS = (2, 7, 8, 9, 20, 40)


def generate(message: Descriptor, count: int, number: int) -> list[bytes]:
    """About `count` different messages, the same for the same seed `number`."""
    made: list[bytes] = []

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(messages(message))
    def collect(value: Message) -> None:
        made.append(value.SerializeToString())

    collect()
    return made


@cache
def messages(message: Descriptor) -> st.SearchStrategy[Message]:
    """Messages of a kind."""
    return st.deferred(lambda: _message(message))


def _mostly(good: st.SearchStrategy[Any], bad: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 11).flatmap(lambda n: bad if n == 11 else good)


def _message(message: Descriptor) -> st.SearchStrategy[Message]:
    kind = message_factory.GetMessageClass(message)
    always: dict[str, st.SearchStrategy[Any]] = {}
    optional: dict[str, st.SearchStrategy[Any]] = {}
    for field in message.fields:
        if field.containing_oneof is None or len(field.containing_oneof.fields) == 1:
            needed = field.is_repeated or field.name in (
                "collection",
                "name",
                "alias",
                "id",
                "key",
                "field",
                "index",
            )
            (always if needed else optional)[field.name] = _field(field)
    chosen = [
        _mostly(
            st.one_of([st.tuples(st.just(field.name), _field(field)) for field in group.fields]), st.none()
        )
        for group in message.oneofs
        if len(group.fields) > 1
    ]

    def build(fields: dict[str, Any], picked: Sequence[tuple[str, Any] | None]) -> Message:
        return kind(**fields, **dict(pair for pair in picked if pair is not None))

    made = st.builds(build, st.fixed_dictionaries(always, optional=optional), st.tuples(*chosen))
    if message is filter_pb2.Filter.DESCRIPTOR:
        return _mostly(made, st.sampled_from(_DEPTHS).map(_deep_filter))
    return made


def _field(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    nested = field.message_type
    if nested is not None and nested.GetOptions().map_entry:
        values = _one(nested.fields_by_name["value"])
        return st.dictionaries(_mostly(st.sampled_from(_KEYS), st.text(max_size=6)), values, max_size=3)
    one = _one(field)
    if not field.is_repeated:
        return one
    if field.containing_type is vector_pb2.Vector.DESCRIPTOR:
        return _vectors()
    few = st.lists(one, min_size=0 if nested is filter_pb2.Condition.DESCRIPTOR else 1, max_size=2)
    return _mostly(few, _mostly(st.just([]), st.builds(_long_list, one, st.sampled_from(_MANY))))


def _long_list(item: Any, count: int) -> list[Any]:
    size = (
        item.ByteSize() if isinstance(item, Message) else len(item) if isinstance(item, (str, bytes)) else 8
    )
    return [item] * min(count, max(2, _MOST_BYTES // max(1, size)))


def _one(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        return messages(field.message_type)
    if field.enum_type is not None:
        known = [value.number for value in field.enum_type.values]
        return _mostly(st.sampled_from(known), st.sampled_from([-1, 99, 2**31 - 1]))
    hinted = _hinted(field)
    return hinted if hinted is not None else _PLAIN[field.type](field)


def _hinted(field: FieldDescriptor) -> st.SearchStrategy[Any] | None:
    text = field.type == FieldDescriptor.TYPE_STRING
    if field.name == "collection":
        return _mostly(st.sampled_from([*[COLLECTION] * 6, ALIAS, READY]), st.sampled_from(_BAD_NAMES))
    if field.name in ("name", "alias") and text:
        return _mostly(
            st.sampled_from([f"made-{number}" for number in range(4)]), st.sampled_from(_BAD_NAMES)
        )
    if field.name in ("id", "ids", "point_id"):
        bad = st.sampled_from(["", "x" * 512, "x" * 513, "\0", "\u00e9" * 300]) | st.text(max_size=8)
        return _mostly(st.sampled_from(IDS), bad)
    if field.name in ("field", "include", "is_empty", "is_null", "key") and text:
        return _mostly(st.sampled_from(_KEYS), st.sampled_from(_BAD_KEYS) | st.text(max_size=6))
    if field.name == "page_token":
        return _mostly(st.just("") | st.uuids().map(str), st.sampled_from(_BAD_TOKENS))
    if field.name == "fingerprint":
        return _mostly(st.just(""), st.sampled_from(["other", "x" * 257]))
    if field.name == "dimension":
        return _mostly(st.just(0), _integers(field))
    if field.name in ("shard_number", "replication_factor", "write_consistency_factor"):
        return _mostly(st.sampled_from([0, 1]), _integers(field))
    if field.name in ("m", "ef_construct"):
        return _mostly(st.sampled_from([0, 4, 16, 64]), _integers(field))
    if field.name == "prompt_template":
        return _mostly(st.sampled_from(["", "a photo of a {}"]), st.sampled_from(_BAD_TEXTS))
    if field.name in ("image", "images"):
        broken = st.sampled_from([b"", b"\xff\xd8\xff", b"GIF89a"]) | st.binary(max_size=64)
        return _mostly(st.sampled_from(SMALLEST), broken)
    if field.name == "f32":
        packed = _vectors().map(lambda values: struct.pack(f"<{len(values)}f", *values))
        return _mostly(packed, st.binary(max_size=9))
    return None


def _vectors() -> st.SearchStrategy[list[float]]:
    floats = _floats(_FINITE, 32)
    short = st.lists(floats, min_size=READY_DIMENSION, max_size=READY_DIMENSION)
    long = st.builds(lambda first, rest: [*first, *[rest] * (DIMENSION - READY_DIMENSION)], short, floats)
    odd = st.lists(floats, max_size=3) | st.builds(lambda x: [x] * 70_000, floats)
    return _mostly(long | long | short, odd)


def _floats(finite: Sequence[float], width: Literal[32, 64]) -> st.SearchStrategy[float]:
    usual = st.floats(0, 1, width=width)
    extreme = st.sampled_from(finite) | st.floats(allow_nan=False, allow_infinity=False, width=width)
    return _mostly(usual | extreme, st.sampled_from(_BAD_FLOATS))


def _integers(field: FieldDescriptor) -> st.SearchStrategy[int]:
    low, high = _RANGES[field.type]
    if high > 2**32:  # values of payloads: every one is allowed
        return st.sampled_from([0, 1, 2, low, high, max(low, -1), 2**53 + 1]) | st.integers(low, high)
    extreme = st.sampled_from([*_BAD_NUMBERS, low, high, max(low, -1)]) | st.integers(low, high)
    return _mostly(st.integers(1, 16), extreme)


_PLAIN: dict[int, Callable[[FieldDescriptor], st.SearchStrategy[Any]]] = {
    FieldDescriptor.TYPE_STRING: lambda field: _mostly(
        st.sampled_from(["a cat", "words number 3", "k1", "\u0130 \U0001f680"]),
        st.sampled_from(_BAD_TEXTS) | st.text(max_size=12),
    ),
    FieldDescriptor.TYPE_BYTES: lambda field: st.binary(max_size=40),
    FieldDescriptor.TYPE_BOOL: lambda field: st.booleans(),
    FieldDescriptor.TYPE_FLOAT: lambda field: _floats(_FINITE, 32),
    FieldDescriptor.TYPE_DOUBLE: lambda field: _floats(_FINITE_DOUBLES, 64),
    **dict.fromkeys(_RANGES, _integers),
}


def _deep_filter(depth: int) -> Message:
    inner = filter_pb2.Filter()
    for level in range(depth):
        outer = filter_pb2.Filter()
        clause = (outer.must, outer.should, outer.must_not)[level % 3]
        clause.add().filter.CopyFrom(inner)
        inner = outer
    return inner
