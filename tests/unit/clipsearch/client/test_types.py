"""What can be done with what comes back: rows, data frames, and points written back."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from clipsearch.client.inputs import Point
from clipsearch.client.types import StoredPoint
from tests.unit.clipsearch.found import a_hit, a_page, a_result

VECTOR = np.array([0.6, 0.8], np.float32)
HITS = (
    a_hit("mug", 0.5, payload={"price": 7.5, "name": "mug", "score": 3}),
    a_hit("tea", 0.25, matched="text", payload={"name": "tea"}),
)


def test_rows_hold_what_was_found_and_the_payload():
    assert a_result(*HITS).to_dicts() == [
        {
            "rank": 1,
            "id": "mug",
            "score": 0.5,
            "cosine": 0.5,
            "matched": "image",
            "name": "mug",
            "price": 7.5,
            "payload.score": 3,
        },
        {"rank": 2, "id": "tea", "score": 0.25, "cosine": 0.25, "matched": "text", "name": "tea"},
    ]
    assert a_page({"id": 1, "n": 2}).to_dicts() == [
        {"id": "p0", "has_image": True, "has_text": False, "payload.id": 1, "n": 2}
    ]


def test_vectors_are_there_if_they_were_asked_for():
    vector = np.ones(4, np.float32)
    [row] = a_result(a_hit(image_vector=vector, payload={"text_vector": "mine"})).to_dicts()
    assert row["image_vector"] is vector
    assert row["payload.text_vector"] == "mine"
    assert "text_vector" not in row


def test_a_data_frame_has_a_column_a_field():
    frame = a_result(*HITS).to_pandas()
    assert list(frame.columns) == list(a_result(*HITS).to_dicts()[0])
    assert frame.set_index("id")["price"].to_dict() == pytest.approx({"mug": 7.5, "tea": np.nan}, nan_ok=True)
    assert list(a_page({"n": 1}, {"n": 2}).to_pandas()["n"]) == [1, 2]


def test_an_empty_result_keeps_its_columns():
    assert list(a_result().to_pandas().columns) == ["rank", "id", "score", "cosine", "matched"]
    assert list(a_page().to_pandas().columns) == ["id", "has_image", "has_text"]


def test_without_pandas_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"to_pandas needs pandas: pip install 'clipsearch\[notebook\]'"):
        a_result(*HITS).to_pandas()
    assert len(a_result(*HITS).to_dicts()) == 2


def test_a_stored_point_can_be_written_back_with_another_payload():
    stored = StoredPoint("a", {"n": 1}, True, False, image_vector=VECTOR)
    assert stored.to_point() == Point("a", image_vector=VECTOR, payload={"n": 1})
    assert stored.to_point({**stored.payload, "tag": "cat"}).payload == {"n": 1, "tag": "cat"}
    assert stored.to_point({}).payload == {}
    both = StoredPoint("b", {}, True, True, image_vector=VECTOR, text_vector=VECTOR)
    assert both.to_point() == Point("b", image_vector=VECTOR, text_vector=VECTOR)


@pytest.mark.parametrize("vectors", [{}, {"image_vector": VECTOR}, {"text_vector": VECTOR}])
def test_a_point_without_its_vectors_is_not_written_back_poorer(vectors):
    with pytest.raises(ValueError, match="with_vectors=True"):
        StoredPoint("a", {}, True, True, **vectors).to_point()
