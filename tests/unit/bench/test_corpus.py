"""What the encoder's benchmark sends is distinct, reproducible and of the sizes it names."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clipsearch.downloads.samples import write_samples
from tests.bench.encoder import corpus


def test_queries_have_3_to_12_words_and_none_comes_twice() -> None:
    queries = [corpus.query(number) for number in range(5000)]
    lengths = Counter(len(query.split()) for query in queries)
    assert len(set(queries)) == 5000
    assert sorted(lengths) == list(range(3, 13))
    assert min(lengths.values()) > 5000 / 10 * 0.7


@given(st.integers(0, 2**24 - 1), st.integers(0, 2**24 - 1))
def test_numbers_below_16_million_have_queries_of_their_own(a: int, b: int) -> None:
    assert (corpus.query(a) == corpus.query(b)) == (a == b)


def test_a_stamp_changes_the_bytes_and_not_the_pixels() -> None:
    picture = Image.radial_gradient("L").convert("RGB")
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG")
    first, second = (corpus.stamped(buffer.getvalue(), number) for number in (1, 2))
    assert len({buffer.getvalue(), first, second}) == 3
    pixels = [np.asarray(Image.open(io.BytesIO(data))) for data in (buffer.getvalue(), first, second)]
    assert (pixels[0] == pixels[1]).all()
    assert (pixels[0] == pixels[2]).all()


@pytest.fixture
def few_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "SMALL_COUNT", 3)
    monkeypatch.setattr(corpus, "LARGE_COUNT", 1)


@pytest.mark.usefixtures("few_pictures")
def test_the_pictures_are_photographs_of_the_two_sizes(tmp_path: Path) -> None:
    corpus.make_corpus(tmp_path / "corpus")
    small, large = (corpus.small_pictures(tmp_path / "corpus"), corpus.large_pictures(tmp_path / "corpus"))
    assert {Image.open(io.BytesIO(data)).size for data in small} == {(640, 480)}
    assert {Image.open(io.BytesIO(data)).size for data in large} == {(4000, 3000)}
    assert len(set(small)) == 3
    # A camera's JPEG takes 1 to 4 bits a pixel; an enlarged or a synthetic one far less.
    assert all(1 <= 8 * len(data) / (640 * 480) <= 4 for data in small)
    assert all(1 <= 8 * len(data) / 12e6 <= 4 for data in large)


@pytest.mark.usefixtures("few_pictures")
def test_the_pictures_are_the_same_every_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        corpus.make_corpus(tmp_path / name)
    assert corpus.small_pictures(tmp_path / "one") == corpus.small_pictures(tmp_path / "two")


def test_half_a_corpus_is_made_again(tmp_path: Path, few_pictures: None) -> None:
    write_samples(tmp_path / "samples")
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "0000.jpg").write_bytes(b"half a picture")
    corpus.make_corpus(tmp_path)
    assert len(corpus.small_pictures(tmp_path)) == 3
    assert all(data.startswith(b"\xff\xd8") for data in corpus.small_pictures(tmp_path))
