"""A share of `make fuzz`, and the fuzzer's own promises."""

from __future__ import annotations

import pytest
from google.rpc import error_details_pb2, status_pb2

from clipsearch.encoder.v1 import encoder_pb2
from tests.fuzz.__main__ import run
from tests.fuzz.campaign import chunks
from tests.fuzz.gateway import run as fuzz_gateway
from tests.fuzz.http_requests import chunks as hostile_http
from tests.fuzz.rpcs import ENCODER, SEARCH, methods
from tests.fuzz.verdict import Answer, problems
from tests.soak.share import limit, share_of


@limit
def test_hostile_inputs_do_no_harm(tmp_path, starter_bundle):
    inputs = share_of(50_000, least=500)
    report = run(inputs, 7, tmp_path, starter_bundle)
    assert report["inputs"] == inputs
    assert {
        name: report[name] for name in ("died", "problems", "faults_logged")
    } == {"died": "", "problems": [], "faults_logged": []}  # fmt: skip
    assert report["passed"]
    assert set(report["statuses_by_method"]) == {m.name for p in (ENCODER, SEARCH) for m in methods(p)}
    assert sum(codes.get("OK", 0) for codes in report["statuses_by_method"].values()) > 0.15 * inputs


def test_a_seed_makes_the_same_inputs_again():
    first, again = (list(chunks(300, seed=3)) for _ in range(2))
    assert first == again
    assert {sent.kind for sent in first[0]} == {"message", "wire", "picture", "connection", "giant"}


def status(code: int, reason: str, field: bool = True) -> status_pb2.Status:
    made = status_pb2.Status(code=code)
    made.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason))
    if field:
        made.details.add().Pack(
            error_details_pb2.BadRequest(
                field_violations=[error_details_pb2.BadRequest.FieldViolation(field="x")]
            )
        )
    return made


def embedding(value: float) -> encoder_pb2.EncodeTextResponse:
    return encoder_pb2.EncodeTextResponse(embeddings=[encoder_pb2.Embedding(vector={"values": [value]})])


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (Answer("OK", message=embedding(0.5)), ""),
        (Answer("INVALID_ARGUMENT", "", status(3, "TEXT_EMPTY")), ""),
        (Answer("INTERNAL", "incident"), "INTERNAL"),
        (Answer("INVALID_ARGUMENT"), "without ErrorInfo"),
        (Answer("INVALID_ARGUMENT", "", status(3, "NEVER_HEARD")), "unknown reason"),
        (Answer("INVALID_ARGUMENT", "", status(3, "QUEUE_FULL")), "which comes with RESOURCE_EXHAUSTED"),
        (Answer("INVALID_ARGUMENT", "", status(3, "TEXT_EMPTY", field=False)), "without a field"),
        (Answer("NOT_FOUND", "in /home/x/data", status(5, "COLLECTION_NOT_FOUND")), "tells of the inside"),
        (
            Answer("INVALID_ARGUMENT", "images[0]: images[0]: over 20 bytes", status(3, "TEXT_EMPTY")),
            "names an item twice",
        ),
        (Answer("OK", message=embedding(float("nan"))), "not finite"),
        (
            Answer(
                "OK", message=encoder_pb2.EncodeTextResponse(embeddings=[{"error": status(13, "INTERNAL")}])
            ),
            "item: INTERNAL",
        ),
    ],
)
def test_an_answer_that_must_not_be_is_noticed(answer, problem):
    found = problems(answer)
    assert any(problem in each for each in found) if problem else found == []


@limit
def test_hostile_http_does_no_harm(tmp_path, starter_bundle):
    requests = share_of(20_000, least=300)
    report = fuzz_gateway(requests, 7, tmp_path / "stage", starter_bundle)
    assert report["requests"] == requests
    assert {
        name: report[name] for name in ("died", "problems", "faults_logged")
    } == {"died": "", "problems": [], "faults_logged": []}  # fmt: skip
    assert report["passed"]
    assert report["statuses"]["200"] > 0.05 * requests


def test_a_seed_makes_the_same_requests_again():
    first, again = (list(hostile_http(200, seed=3)) for _ in range(2))
    assert first == again
