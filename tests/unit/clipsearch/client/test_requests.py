"""What a caller sets is what travels, and comes back under the same names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pytest

from clipsearch import Nearer, Newer, Point, Popular, Term, TextIndex
from clipsearch.client import collection_requests, encoder_requests, requests, responses
from clipsearch.client.errors import ArgumentError
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


def test_settings_to_change_travel_and_those_that_stay_do_not():
    request = collection_requests.update_collection(
        "c",
        hnsw_m=8,
        hnsw_on_disk=False,
        quantization_params={"encoding": "two_bits", "always_ram": True},
        on_disk_payload=False,
        optimizers={"indexing_threshold_kb": 0},
    )
    assert request == pb.UpdateCollectionRequest(
        name="c",
        hnsw=pb.HnswConfigDiff(m=8, on_disk=False),
        quantization_params=pb.QuantizationParams(encoding=pb.BINARY_ENCODING_TWO_BITS, always_ram=True),
        on_disk_payload=False,
        optimizers=pb.OptimizersConfig(indexing_threshold_kb=0),
    )
    assert responses.collection(pb.Collection(optimizers=request.optimizers)).optimizers == {
        "indexing_threshold_kb": 0
    }
    for wrong in ({"quantization_params": {"bitz": 1}}, {"optimizers": {"wal": 1}}, {"quantization": "x"}):
        with pytest.raises(ValueError, match="is none of"):
            collection_requests.update_collection("c", **wrong)


def test_the_options_of_a_text_index_travel_and_come_back():
    index = TextIndex("prefix", False, 2, 20, "english", ("german",), ("a", "the"), True)
    request = collection_requests.create_collection("c", payload_indexes={"a": index, "b": "geo"})
    found = responses.collection(pb.Collection(payload_indexes=request.payload_indexes))
    assert found.payload_indexes == {"a": index, "b": "geo"}

    @dataclass(frozen=True)
    class Titles(TextIndex):
        note: str = "of the caller's own"

    assert collection_requests.create_payload_index("c", "a", Titles("prefix")).index.text.tokenizer
    with pytest.raises(TypeError, match="must be a list of words"):
        collection_requests.create_payload_index("c", "a", TextIndex(stopwords="the"))


def test_payloads_are_on_disk_unless_told_otherwise():
    assert collection_requests.create_collection("c").on_disk_payload


def test_images_go_in_calls_of_a_size_that_the_encoder_takes():
    images = [bytes([n]) for n in range(70)]
    encoded = list(encoder_requests.encode_images(iter(images)))
    assert [len(request.images) for request in encoded] == [32, 32, 6]
    labels = iter(["cat", "dog"])
    classified = list(encoder_requests.classify(iter(images), labels))
    assert [image for request in classified for image in request.images] == images
    assert [len(request.images) for request in classified] == [32, 32, 6]
    assert all(request.labels == ["cat", "dog"] for request in classified)
    large = [bytes(20 * 1024 * 1024)] * 2
    assert [len(request.images) for request in encoder_requests.classify(large, ["cat"])] == [1, 1]
    assert list(encoder_requests.classify([], ["cat"])) == []


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


def test_examples_context_and_the_vector_of_a_point_travel():
    pair = (Term(text="red"), Term(point_id="mug", vector_name="text"))
    asked = requests.search("c", point_id="cup", strategy="sum_scores", context=[pair])
    assert asked.strategy == search_pb2.STRATEGY_SUM_SCORES
    [context] = asked.context
    assert (context.positive.text, context.negative.point_id) == ("red", "mug")
    assert context.negative.vector_name == search_pb2.TARGET_TEXT
    assert not context.positive.HasField("weight")
    for given, wrong in (
        ([Term(text="red")], r"context\[0\]: must be a list of two terms, is one Term"),
        ([[Term(text="red")]], r"context\[0\]: must be two terms, are 1"),
        (
            [(Term(text="red", weight=2), Term(text="blue"))],
            r"context\[0\]\.positive: terms of a context",
        ),
    ):
        with pytest.raises((TypeError, ValueError), match=wrong):
            requests.search("c", context=given)
    with pytest.raises(ValueError, match=r"query\[0\]: vector_name is of a point_id only"):
        requests.search("c", query=[Term(text="words", vector_name="image")])


def test_an_order_travels_with_a_start_of_its_kind():
    noon = datetime(2024, 5, 31, 12, tzinfo=UTC)
    by_time = requests.list_page("c", order_by="made", descending=True, start_from=noon).order_by
    assert (by_time.key, by_time.direction) == ("made", search_pb2.DIRECTION_DESC)
    assert by_time.time.ToDatetime(tzinfo=UTC) == noon
    by_number = requests.list_page("c", order_by="price", start_from=7).order_by
    assert (by_number.number, by_number.direction) == (7, search_pb2.DIRECTION_ASC)
    assert not requests.list_page("c").HasField("order_by")
    assert requests.list_page("c", sample=True).sample == search_pb2.SAMPLE_RANDOM
    with pytest.raises(ValueError, match="give order_by"):
        requests.list_page("c", descending=True)


def test_values_of_fields_come_back_as_what_they_are():
    values = [{"keyword": "acme"}, {"integer": 0}, {"boolean": False}]
    hits = [search_pb2.FacetHit(value=search_pb2.FieldValue(**value), count=3) for value in values]
    found = responses.facets(search_pb2.FacetResponse(hits=hits))
    assert [(hit.value, type(hit.value), hit.count) for hit in found] == [
        ("acme", str, 3),
        (0, int, 3),
        (False, bool, 3),
    ]


def test_boosts_travel():
    noon = datetime(2024, 5, 31, 12, tzinfo=UTC)
    boosts = [Newer("made", 60, noon), Nearer("at", 48.4, 9.99, 500, weight=-2), Popular("sold", 10)]
    newer, nearer, popular = requests.search("c", text="words", boosts=boosts).boosts
    assert (newer.newer.key, newer.newer.scale_s, newer.weight) == ("made", 60, 1)
    assert newer.newer.target.ToDatetime(tzinfo=UTC) == noon
    assert (nearer.nearer.lat, nearer.nearer.lon, nearer.nearer.scale_m) == (48.4, 9.99, 500)
    assert nearer.weight == -2
    assert (popular.popular.key, popular.popular.scale) == ("sold", 10)
    [by_now] = requests.search("c", text="words", boosts=[Newer("made", 60)]).boosts
    assert not by_now.newer.HasField("target")
    with pytest.raises(TypeError, match=r"boosts\[0\]: must be Newer, Nearer or Popular, is of type str"):
        requests.search("c", text="words", boosts=["newer"])


def test_a_boost_of_a_derived_class_travels_as_what_it_is_derived_from():
    class Fresh(Newer):
        pass

    [fresh] = requests.search("c", text="words", boosts=[Fresh("made", 60)]).boosts
    assert (fresh.newer.key, fresh.newer.scale_s) == ("made", 60)


def test_diversity_travels():
    asked = requests.search("c", text="words", diversity=0, diversity_candidates=50).mmr
    assert (asked.HasField("diversity"), asked.diversity, asked.candidates_limit) == (True, 0, 50)
    assert not requests.search("c", text="words").HasField("mmr")
    with pytest.raises(ValueError, match="diversity_candidates: they are for diversity"):
        requests.search("c", text="words", diversity_candidates=50)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (False, None),
        (True, search_pb2.Hybrid()),
        (np.False_, None),
        (0.5, search_pb2.Hybrid(weight=0.5)),
        (np.float32(0.5), search_pb2.Hybrid(weight=0.5)),
    ],
)
def test_a_search_looks_words_up_too_if_it_is_told_to(given, sent):
    request = requests.search("c", "KX-4711", hybrid=given)
    assert (request.hybrid if request.HasField("hybrid") else None) == sent
    with pytest.raises(TypeError, match="hybrid: must be True, False or a weight, is 'yes'"):
        requests.search("c", "KX-4711", hybrid="yes")


def test_what_words_found_comes_back():
    hit = search_pb2.Hit(id="a", matched=search_pb2.TARGET_WORDS, words_rank=1, words_score=2.5)
    response = search_pb2.SearchResponse(hits=[hit], fused=True, fusion=search_pb2.FUSION_HYBRID)
    found = responses.search_result(response)
    assert (found.fusion, found[0].matched) == ("hybrid", "words")
    assert (found[0].words_rank, found[0].words_score, found[0].image_rank) == (1, 2.5, None)


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        *[
            (lambda options=options: requests.search("c", "a", **options), next(iter(options)))
            for options in (
                {"limit": 2**40},
                {"boost_candidates": 2**40},
                {"score_threshold": "high"},
                {"exact": "no"},
                {"rescore": "no"},
                {"oversampling": "much"},
                {"target": ["text"]},
                {"diversity": "much"},
                {"diversity_candidates": 2**40, "diversity": 0.5},
                {"fingerprint": 5},
                {"with_vectors": "no"},
            )
        ],
        (lambda: requests.search("c", query=[Term("a", weight="much")]), "query[0].weight"),
        (lambda: requests.search("c", query=[Term(vector="abc")]), "query[0].vector"),
        (lambda: requests.search("c", query=[Term("a", weight=np.True_)]), "query[0].weight"),
        (lambda: requests.search("c", boosts=[Popular("price", "much")]), "boosts[0].scale"),
        (lambda: requests.search("c", boosts=[Popular("price", 1, weight="much")]), "boosts[0].weight"),
        (lambda: requests.search("c", boosts=[Newer("made", 1, target="now")]), "boosts[0].target"),
        (lambda: requests.upsert("c", [Point("p", image_vector="abc")]), "point 'p': image_vector"),
        (lambda: requests.list_page("c", page_size=-1), "page_size"),
        (lambda: requests.list_page("c", page_token=5), "page_token"),
        (lambda: requests.list_page("c", order_by="price", start_from="5"), "start_from"),
        (lambda: requests.count(5), "collection"),
        (lambda: requests.facet("c", "brand", limit=2**40), "limit"),
        (lambda: collection_requests.create_collection("c", hnsw_m=-1), "hnsw_m"),
        (lambda: collection_requests.create_collection("c", dimension="all"), "dimension"),
        (lambda: collection_requests.create_collection("c", quantization_bits="few"), "quantization_bits"),
        (
            lambda: collection_requests.update_collection("c", optimizers={"vacuum_min_vector_number": -1}),
            "optimizers: vacuum_min_vector_number",
        ),
        (lambda: collection_requests.get_collection(5), "name"),
        (lambda: collection_requests.get_collection("\udcff"), "name"),  # as the shell gives what is no UTF-8
        (lambda: requests.search("c", "a", fingerprint="\ud800"), "fingerprint"),
        (
            lambda: collection_requests.create_payload_index("c", "a{b}", TextIndex(min_token_len=-1)),
            "payload index 'a{b}': min_token_len",
        ),
    ],
)
def test_a_value_that_no_message_takes_is_told_by_its_argument(make, argument):
    with pytest.raises(ArgumentError, match=f"^{re.escape(argument)}: "):
        make()
