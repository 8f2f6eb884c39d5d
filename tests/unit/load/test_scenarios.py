"""What is sent: no request twice, filters that the service can read, and answers judged."""

from __future__ import annotations

import io

import numpy as np
from google.rpc import status_pb2
from PIL import Image

from clipsearch.search.v1 import search_pb2
from tests.load.collection import made_vectors
from tests.load.pictures import base_pictures, picture
from tests.load.scenarios import INGEST_IDS, POINTS_AN_UPSERT, parts_ms, payload, problem, scenarios

ALL = scenarios("c", 1000, base_pictures()[:2])


def test_no_two_numbers_give_the_same_request() -> None:
    for scenario in ALL.values():
        sent = {scenario.build(number).SerializeToString(deterministic=True) for number in range(100)}
        if scenario.name != "mixed":  # which has a stored point every tenth time, and points repeat
            assert len(sent) == 100


def test_mixed_has_every_kind_of_query_and_always_a_filter() -> None:
    requests = [ALL["mixed"].build(number) for number in range(200)]
    names = ("text", "image", "point_id")
    kinds = {name for request in requests for name in names if request.query[0].HasField(name)}
    assert kinds == {"text", "image", "point_id"}
    assert all(request.HasField("filter") for request in requests)


def test_ingest_writes_the_same_ids_again_so_that_the_collection_stays_small() -> None:
    ids = {
        point.id
        for number in range(2 * INGEST_IDS // POINTS_AN_UPSERT)
        for point in ALL["ingest"].build(number).points
    }
    assert len(ids) == INGEST_IDS


def test_a_picture_is_a_jpeg_of_its_own_with_the_same_pixels() -> None:
    one, other = picture(base_pictures(), 0), picture(base_pictures(), len(base_pictures()))
    assert one != other
    opened = [Image.open(io.BytesIO(data)) for data in (one, other)]
    assert opened[0].size == (640, 480)
    assert np.array_equal(np.asarray(opened[0]), np.asarray(opened[1]))


def test_an_answer_without_hits_or_with_a_refused_point_is_a_problem() -> None:
    assert problem(search_pb2.SearchResponse()) == "NO_HITS"
    assert problem(search_pb2.SearchResponse(hits=[search_pb2.Hit(id="a")])) == ""
    good, bad = (search_pb2.UpsertResult(id="a", status=status_pb2.Status(code=code)) for code in (0, 3))
    assert problem(search_pb2.UpsertResponse(results=[good])) == ""
    assert problem(search_pb2.UpsertResponse(results=[good, bad])) == "POINT_REFUSED"


def test_an_answer_tells_where_its_time_went() -> None:
    timings = search_pb2.SearchTimings(encode_ms=5, store_ms=2)
    assert parts_ms(search_pb2.SearchResponse(timings=timings)) == {"encode": 5, "store": 2}
    assert parts_ms(search_pb2.UpsertResponse()) == {}


def test_made_vectors_are_the_same_each_time_and_all_different() -> None:
    bases = np.eye(8, dtype=np.float32)
    vectors = made_vectors(bases, range(256, 512))
    assert vectors.shape == (256, 8)
    assert np.array_equal(vectors, made_vectors(bases, range(256, 512)))
    assert len(np.unique(vectors, axis=0)) == 256
    assert payload(7)["category"] == payload(17)["category"] == "c7"
