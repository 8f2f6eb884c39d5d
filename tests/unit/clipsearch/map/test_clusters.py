"""Clusters: found where there are some, the largest first, named by what sets them apart."""

from __future__ import annotations

import numpy as np
import pytest

from clipsearch.map import clusters
from clipsearch.map.clusters import NONE, Words, find_clusters, name_clusters, read_words
from clipsearch.map.sample import TEXT
from tests.unit.clipsearch.map.made import DIMENSION, islands


def blobs(*sizes: int, seed: int = 0):
    random = np.random.default_rng(seed)
    return np.concatenate(
        [random.normal((10 * i, 0), 0.1, (size, 2)) for i, size in enumerate(sizes)]
    ).astype(np.float32)


def test_dense_places_are_clusters_and_the_largest_comes_first():
    labels = find_clusters(blobs(20, 60, 40))
    assert [set(labels[part]) for part in (slice(20), slice(20, 80), slice(80, 120))] == [{2}, {0}, {1}]


def test_of_many_positions_a_share_is_clustered_and_the_others_follow(monkeypatch):
    monkeypatch.setattr(clusters, "_CLUSTERED", 200)
    labels = find_clusters(blobs(300, 700))
    assert set(labels[:300]) == {1}
    assert set(labels[300:]) == {0}


def test_too_few_positions_have_no_clusters():
    assert set(find_clusters(blobs(5))) == {NONE}


@pytest.mark.filterwarnings("error")  # such as of the mean of nothing
@pytest.mark.parametrize(
    ("between", "size"), [(None, 40), (TEXT, 20)], ids=["both modalities", "images alone"]
)
def test_clusters_get_the_words_that_set_them_apart(between, size):
    sample = islands(each=20, kinds=3)
    labels = np.array([int(value[-1]) for value in sample.values("kind")], np.int32)
    labels[sample.side == between] = NONE
    names = ["zero", "one", "two", "nothing"]
    words = Words(names, np.eye(DIMENSION, dtype=np.float32)[[0, 1, 2, 9]])
    named = name_clusters(sample, sample.vectors, labels, words)
    assert [cluster.words[0] for cluster in named] == ["zero", "one", "two"]
    assert [cluster.size for cluster in named] == [size] * 3


def test_without_words_clusters_have_sizes_alone(sample):
    labels = np.zeros(len(sample.vectors), np.int32)
    (cluster,) = name_clusters(sample, sample.vectors, labels, None)
    assert (cluster.size, cluster.words) == (len(sample.vectors), ())


def test_word_lists_have_a_word_a_line(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("# animals\ncat\n\n  guinea pig \ncat\n")
    assert read_words(path) == ["cat", "guinea pig"]
    with pytest.raises(OSError, match="nothing-here"):
        read_words(tmp_path / "nothing-here")
