"""What the encoder's benchmark sends is distinct, reproducible and of the sizes it names."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.bench.encoder import corpus


def test_queries_have_3_to_12_words_and_none_comes_twice() -> None:
    queries = [corpus.query(number) for number in range(5000)]
    lengths = Counter(len(query.split()) for query in queries)
    assert len(set(queries)) == 5000
    assert sorted(lengths) == list(range(3, 13))
    assert min(lengths.values()) > 5000 / 10 * 0.7


def test_a_stamp_changes_the_bytes_and_not_the_pixels() -> None:
    picture = Image.radial_gradient("L").convert("RGB")
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG")
    first, second = (corpus.stamped(buffer.getvalue(), number) for number in (1, 2))
    assert len({buffer.getvalue(), first, second}) == 3
    pixels = [np.asarray(Image.open(io.BytesIO(data))) for data in (buffer.getvalue(), first, second)]
    assert (pixels[0] == pixels[1]).all()
    assert (pixels[0] == pixels[2]).all()


@pytest.mark.slow
def test_pictures_are_photographs_of_two_sizes_the_same_every_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "SMALL_COUNT", 3)
    monkeypatch.setattr(corpus, "LARGE_COUNT", 1)
    (tmp_path / "one" / "small").mkdir(parents=True)
    (tmp_path / "one" / "small" / "0000.jpg").write_bytes(b"half a corpus, which is made again")
    for name in ("one", "two"):
        corpus.make_corpus(tmp_path / name)
    small, large = corpus.small_pictures(tmp_path / "one"), corpus.large_pictures(tmp_path / "one")
    assert small == corpus.small_pictures(tmp_path / "two")
    assert {Image.open(io.BytesIO(data)).size for data in small} == {(640, 480)}
    assert {Image.open(io.BytesIO(data)).size for data in large} == {(4000, 3000)}
    assert len(set(small)) == 3
    # A camera's JPEG takes 1 to 4 bits a pixel; an enlarged or a synthetic one far less.
    assert all(1 <= 8 * len(data) / (640 * 480) <= 4 for data in small)
    assert all(1 <= 8 * len(data) / 12e6 <= 4 for data in large)
