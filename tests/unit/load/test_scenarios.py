"""What is sent: no request twice, filters that the service can read, and answers judged."""

from __future__ import annotations

from google.rpc import status_pb2

from clipsearch.search.v1 import search_pb2
from tests.load.pictures import base_pictures
from tests.load.scenarios import problem, scenarios


def test_no_two_numbers_give_the_same_request() -> None:
    for scenario in scenarios("c", 1000, base_pictures()[:2]).values():
        sent = {scenario.build(number).SerializeToString(deterministic=True) for number in range(100)}
        if scenario.name != "mixed":  # which has a stored point every tenth time, and points repeat
            assert len(sent) == 100


def test_an_answer_without_hits_or_with_a_refused_point_is_a_problem() -> None:
    assert problem(search_pb2.SearchResponse()) == "NO_HITS"
    assert problem(search_pb2.SearchResponse(hits=[search_pb2.Hit(id="a")])) == ""
    good, bad = (search_pb2.UpsertResult(id="a", status=status_pb2.Status(code=code)) for code in (0, 3))
    assert problem(search_pb2.UpsertResponse(results=[good])) == ""
    assert problem(search_pb2.UpsertResponse(results=[good, bad])) == "POINT_REFUSED"
