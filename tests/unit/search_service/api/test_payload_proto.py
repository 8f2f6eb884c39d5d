"""Payloads: Struct to JSON values and back."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from google.protobuf import json_format, struct_pb2
from hypothesis import given
from hypothesis import strategies as st

from clipsearch.client.convert import fill_struct
from clipsearch.search.v1 import search_pb2
from clipsearch.serving.errors import InvalidArgument
from search_service.api.payload_proto import read_payload, write_payload

LIMIT = 64 * 1024
names = st.text(min_size=1, max_size=8).filter(lambda name: not name.startswith("_clipsearch"))
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=5,
)


def struct(payload: dict) -> struct_pb2.Struct:
    proto = struct_pb2.Struct()
    proto.update(payload)
    return proto


@given(st.dictionaries(names, values, max_size=5))
def test_a_payload_comes_back_equal(payload):
    assert read_payload(write_payload(payload), "payload", LIMIT) == payload


def test_numbers_without_a_fraction_become_integers_and_others_stay():
    payload = read_payload(
        struct({"whole": 3.0, "half": 0.5, "huge": 2.0**60, "list": [1, 1.5], "in": {"n": -7}}),
        "payload",
        LIMIT,
    )
    assert json.dumps(payload, sort_keys=True) == json.dumps(
        {"half": 0.5, "huge": 2.0**60, "in": {"n": -7}, "list": [1, 1.5], "whole": 3}, sort_keys=True
    )


def test_a_value_that_says_nothing_is_null():
    assert read_payload(struct_pb2.Struct(fields={"a": struct_pb2.Value()}), "payload", LIMIT) == {"a": None}


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_has_not_are_refused_with_their_path(number):
    with pytest.raises(InvalidArgument) as caught:
        read_payload(struct({"shop": {"prices": [1, number]}}), "points[2].payload", LIMIT)
    assert caught.value.field == "points[2].payload.shop.prices[1]"


@pytest.mark.parametrize("wrap", [lambda value: [value], lambda value: {"a": value}])
def test_a_payload_is_no_deeper_than_the_deepest_answer_can_hold_and_a_client_writes_again(wrap):
    value: Any = 1
    for _ in range(29):
        value = wrap(value)
    payload = read_payload(struct({"x": value}), "payload", LIMIT)
    hit = search_pb2.Hit(payload=write_payload(payload))
    group = search_pb2.SearchGroupsResponse(groups=[search_pb2.Group(hits=[hit])])
    batch = search_pb2.SearchBatchResponse(results=[search_pb2.SearchResponse(hits=[hit])])
    for answer in (group, batch):
        assert type(answer).FromString(answer.SerializeToString()) == answer
    restored = struct_pb2.Struct()
    fill_struct(restored, payload, "payload")
    assert restored == write_payload(payload)
    with pytest.raises(InvalidArgument, match=r"points\[2\].payload: more than 30 lists and objects"):
        read_payload(struct({"x": wrap(value)}), "points[2].payload", LIMIT)


def test_the_services_own_keys_are_refused():
    with pytest.raises(InvalidArgument, match="_clipsearch_id"):
        read_payload(struct({"_clipsearch_id": "x"}), "payload", LIMIT)
    assert read_payload(struct({"in": {"_clipsearch_id": "x"}}), "payload", LIMIT)


def test_too_large_a_payload_is_refused_with_size_and_limit():
    proto = json_format.ParseDict({"text": "x" * 1000}, struct_pb2.Struct())
    with pytest.raises(InvalidArgument, match=rf"payload: {proto.ByteSize()} bytes, at most 1000") as caught:
        read_payload(proto, "payload", 1000)
    assert caught.value.reason == "PAYLOAD_TOO_LARGE"
    assert read_payload(proto, "payload", proto.ByteSize())
