"""What a caller sets is what travels, and comes back under the same names."""

from __future__ import annotations

import pytest

from clipsearch import Term
from clipsearch.client import collection_requests, requests, responses
from clipsearch.search.v1 import collection_pb2 as pb
from clipsearch.search.v1 import search_pb2

SETTINGS = [
    ("scalar", {"quantile": 0.99, "always_ram": True}),
    ("binary", {"encoding": "one_and_half_bits", "query_encoding": "scalar8bits"}),
    ("product", {"compression": 32}),
    ("turbo", {"bits": 1.5}),
    ("none", {}),
]


@pytest.mark.parametrize(("quantization", "params"), SETTINGS)
def test_quantization_settings_travel_and_come_back(quantization, params):
    options = {f"quantization_{name}": value for name, value in params.items()}
    request = collection_requests.create_collection("c", quantization=quantization, **options)
    told = pb.Collection(
        name="c", quantization=request.quantization, quantization_params=request.quantization_params
    )
    found = responses.collection(told)
    assert (found.quantization, found.quantization_params) == (quantization, params)


def test_storage_and_graph_settings_travel():
    request = collection_requests.create_collection(
        "c",
        hnsw_m=8,
        hnsw_ef_construct=64,
        hnsw_full_scan_threshold_kb=500,
        hnsw_on_disk=True,
        on_disk_vectors=True,
        on_disk_payload=False,
    )
    assert request.hnsw == pb.HnswConfig(m=8, ef_construct=64, full_scan_threshold_kb=500, on_disk=True)
    assert (request.on_disk_vectors, request.on_disk_payload) == (True, False)


def test_payloads_are_on_disk_unless_told_otherwise():
    assert collection_requests.create_collection("c").on_disk_payload


def test_images_go_in_calls_of_a_size_that_the_encoder_takes():
    images = [bytes([n]) for n in range(70)]
    encoded = list(requests.encode_images(iter(images)))
    assert [len(request.images) for request in encoded] == [32, 32, 6]
    labels = iter(["cat", "dog"])
    classified = list(requests.classify(iter(images), labels))
    assert [image for request in classified for image in request.images] == images
    assert [len(request.images) for request in classified] == [32, 32, 6]
    assert all(request.labels == ["cat", "dog"] for request in classified)
    large = [bytes(20 * 1024 * 1024)] * 2
    assert [len(request.images) for request in requests.classify(large, ["cat"])] == [1, 1]
    assert list(requests.classify([], ["cat"])) == []


@pytest.mark.parametrize("fusion", ["calibrated", "rrf", "dbsf"])
def test_the_fusion_travels_and_comes_back_with_the_scores(fusion):
    sent = requests.search("c", text="words", fusion=fusion)
    answer = search_pb2.SearchResponse(fused=True, fusion=sent.fusion)
    assert responses.search_result(answer).fusion == fusion


def test_scores_that_are_cosines_are_of_no_fusion():
    assert requests.search("c", text="words").fusion == search_pb2.FUSION_CALIBRATED
    assert responses.search_result(search_pb2.SearchResponse()).fusion is None


def test_the_kind_of_a_vector_travels_and_that_of_other_terms_is_refused():
    kinds = [
        requests.search("c", query=[Term(vector=[1, 0], kind=kind)]).query[0].kind
        for kind in ("image", "text", None)
    ]
    assert kinds == [
        search_pb2.TERM_KIND_IMAGE,
        search_pb2.TERM_KIND_TEXT,
        search_pb2.TERM_KIND_UNSPECIFIED,
    ]
    with pytest.raises(ValueError, match=r"query\[0\]: kind is of a vector only"):
        requests.search("c", query=[Term(text="words", kind="image")])
