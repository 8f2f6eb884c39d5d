"""What messages take, reckoned from their bytes, compared with what they take when they are parsed."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Mapping

import pytest
from google.protobuf import descriptor_pool, struct_pb2
from google.protobuf.descriptor import Descriptor

from clipsearch.encoder.v1 import encoder_pb2
from clipsearch.search.v1 import filter_pb2, search_pb2
from clipsearch.serving.errors import InvalidArgument
from clipsearch.serving.receiving.message_cost import MessageCost
from encoder_service.settings import EncoderSettings
from search_service.settings import SearchSettings
from tests.fuzz import wire
from tests.fuzz.rpcs import ENCODER, SEARCH, methods

NO_LIMIT = 1 << 60
COUNT = 300_000

# Elements that take most of what they had on the wire: the field's tag and the element, once.
GREEDY = {
    "empty texts": ("clipsearch.encoder.v1.EncodeTextRequest", "0a00"),
    "short texts": ("clipsearch.encoder.v1.EncodeTextRequest", "0a0161"),
    "empty points": ("clipsearch.search.v1.UpsertRequest", "1200"),
    "points with an empty payload": ("clipsearch.search.v1.UpsertRequest", "12023200"),
    "empty searches": ("clipsearch.search.v1.SearchBatchRequest", "0a00"),
    "empty terms": ("clipsearch.search.v1.SearchRequest", "1200"),
    "empty conditions": ("clipsearch.search.v1.Filter", "0a00"),
    "conditions of a field": ("clipsearch.search.v1.Filter", "0a020a00"),
    "numbers": ("clipsearch.search.v1.Integers", "0801"),
    "empty values": ("google.protobuf.ListValue", "0a00"),
    "nulls": ("google.protobuf.ListValue", "0a020800"),
    "lists": ("google.protobuf.ListValue", "0a023200"),
    "what is in no schema": ("clipsearch.encoder.v1.EncodeTextRequest", "f80100"),
    "groups": ("clipsearch.encoder.v1.EncodeTextRequest", "fb01fc01"),
}
# Prints how much memory each of them takes when it is parsed, each in a process of its own.
PARSED = """
import os, sys
import clipsearch.encoder.v1.encoder_pb2, clipsearch.search.v1.search_pb2
from google.protobuf import descriptor_pool, message_factory, struct_pb2
resident = lambda: int(open("/proc/self/statm").read().split()[1]) * 4096
for given in sys.argv[2:]:
    name, element = given.split()
    kind = message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(name))
    if os.fork():
        os.wait()
        continue
    data = bytes.fromhex(element) * int(sys.argv[1])
    before = resident()
    message = kind.FromString(data)
    print(resident() - before, flush=True)
    os._exit(0)
"""


def cost(message: Descriptor, data: bytes, most: int = NO_LIMIT, limits: Mapping[str, int] = {}) -> int:
    return MessageCost(message, limits).of(data, most)


def test_nothing_takes_more_than_is_reckoned():
    told = subprocess.run(
        [sys.executable, "-c", PARSED, str(COUNT), *map(" ".join, GREEDY.values())],
        capture_output=True,
        check=True,
        timeout=60,
    )
    for (name, (kind, element)), taken in zip(GREEDY.items(), told.stdout.split(), strict=True):
        descriptor = descriptor_pool.Default().FindMessageTypeByName(kind)
        reckoned = cost(descriptor, bytes.fromhex(element) * COUNT)
        assert int(taken) - 3_000_000 <= reckoned, name  # of what the allocator keeps at hand
        assert reckoned <= 100 * len(element) // 2 * COUNT + 1000, name


def test_images_texts_and_vectors_cost_what_they_have():
    images = encoder_pb2.EncodeImageRequest(images=[bytes(1_000_000)] * 20)
    assert 20_000_000 < cost(images.DESCRIPTOR, images.SerializeToString()) < 20_010_000
    points = [
        search_pb2.Point(id=f"p{n}", image=bytes(100_000), payload=struct_pb2.Struct()) for n in range(100)
    ]
    upsert = search_pb2.UpsertRequest(points=points)
    assert 10_000_000 < cost(upsert.DESCRIPTOR, upsert.SerializeToString()) < 10_300_000


def test_packed_numbers_are_counted():
    packed = filter_pb2.Integers(values=[1, 300, -1] * 2000)
    data = packed.SerializeToString()
    cost(packed.DESCRIPTOR, data, limits={"clipsearch.search.v1.Integers.values": 6000})
    with pytest.raises(InvalidArgument, match="values: 6000 or more given, at most 5999 are allowed"):
        cost(packed.DESCRIPTOR, data, limits={"clipsearch.search.v1.Integers.values": 5999})


def test_what_is_wrong_is_told_by_its_place():
    limits = {"clipsearch.search.v1.HasId.ids": 1000}
    ids = filter_pb2.HasId(ids=["some id of a few letters"] * 1001)
    search = search_pb2.SearchRequest(filter={"must": [{"is_null": "x"}, {"has_id": ids}]})
    batch = search_pb2.SearchBatchRequest(searches=[search_pb2.SearchRequest(), search])
    with pytest.raises(InvalidArgument) as caught:
        cost(batch.DESCRIPTOR, batch.SerializeToString(), limits=limits)
    assert caught.value.field == "searches[1].filter.must[1].has_id.ids"
    assert caught.value.reason == "COUNT_OUT_OF_RANGE"


def test_a_message_that_takes_too_much_is_refused_long_before_its_end():
    data = b"\x12\x00" * 5_000_000
    with pytest.raises(InvalidArgument, match="takes more than 1000000 bytes of memory") as caught:
        cost(search_pb2.UpsertRequest.DESCRIPTOR, data, 1_000_000)
    assert caught.value.reason == "REQUEST_TOO_LARGE"


def test_deep_nesting_ends():
    inner = filter_pb2.Filter(must=[{"is_null": "x" * 5000}])
    data = inner.SerializeToString()
    for _ in range(3000):
        for number in (5, 1):
            data = bytes([number << 3 | 2]) + wire.varint(len(data)) + data
    assert cost(filter_pb2.Filter.DESCRIPTOR, data) > len(data)


def test_bytes_that_are_no_message_are_left_to_the_parser():
    rng = random.Random(3)
    every = [method.input_type for process in (ENCODER, SEARCH) for method in methods(process)]
    corpus = [rng.randbytes(6000) for _ in every]
    for _ in range(500):
        cost(rng.choice(every), wire.mutated(rng, corpus))


def test_every_list_of_a_request_is_bounded():
    """But for those of a Struct, which the bytes of a payload bound."""
    bounded = {**EncoderSettings().most_elements, **SearchSettings().most_elements}
    lists: set[str] = set()

    def walk(message: Descriptor, seen: set[str]) -> None:
        if message.full_name in seen or message.full_name.startswith("google."):
            return
        seen.add(message.full_name)
        for field in message.fields:
            if field.is_repeated and not field.full_name.endswith("Vector.values"):
                lists.add(field.full_name)
            if field.message_type is not None:
                walk(field.message_type, seen)

    for process in (ENCODER, SEARCH):
        for method in methods(process):
            walk(method.input_type, set())
    assert set(bounded) == lists
