"""The figures of a collection and the scores that come of them, on vectors as a joint space has them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from search_service.query.calibration import SAMPLE, Calibration, Weighted, measure
from search_service.query.queries import compose
from search_service.stores.protocol import VECTOR_NAMES, VectorSample

DIMENSION = 64


def normed(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


class Space:
    """Things with an image and a text each, in two cones; images are spread twice as far as texts."""

    def __init__(self, things: int, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        axes = normed(self.random.standard_normal((2, DIMENSION)))
        meanings = self.random.standard_normal((things, DIMENSION)) / np.sqrt(DIMENSION)
        self.image = normed(0.5 * axes[0] + meanings + self._noise(things, 0.5))
        self.text = normed(1.2 * axes[1] + meanings + self._noise(things, 0.5))

    def _noise(self, things: int, size: float) -> np.ndarray:
        return size * self.random.standard_normal((things, DIMENSION)) / np.sqrt(DIMENSION)

    def changed(self, vectors: np.ndarray) -> np.ndarray:
        """Other images or texts of the same things."""
        return normed(vectors + self._noise(len(vectors), 0.4))


def sample(vectors: np.ndarray, ids: list[str] | None = None) -> VectorSample:
    return VectorSample(tuple(ids or [str(i) for i in range(len(vectors))])[:SAMPLE], vectors[:SAMPLE])


def calibrated(image: np.ndarray, text: np.ndarray, *, apart: bool = False) -> Calibration:
    samples = {
        "image": sample(image, [f"i{i}" for i in range(len(image))] if apart else None),
        "text": sample(text),
    }
    return measure(samples, {"image": len(image), "text": len(text)})


def ranks(
    calibration: Calibration, queries: np.ndarray, kind: str, image: np.ndarray, text: np.ndarray
) -> np.ndarray:
    """By query, how many points of both names are ranked before the right one of its kind."""
    scored = []
    for name, vectors in (("image", image), ("text", text)):
        scale = calibration.scale([Weighted(queries[0], 1.0, kind)], name)
        scored.append(np.vectorize(scale.score)(queries @ vectors.T))
    right = np.diagonal(scored[VECTOR_NAMES.index(kind)][:, : len(queries)])
    return (np.hstack(scored) > right[:, None]).sum(axis=1)


@pytest.mark.parametrize("things", [5, 50, 900])
@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("kind", VECTOR_NAMES)
def test_what_a_name_is_sure_of_is_found_first(things, apart, kind):
    space = Space(things)
    calibration = calibrated(space.image, space.text, apart=apart)
    queries = space.changed(getattr(space, kind))
    found = ranks(calibration, queries, kind, space.image, space.text)
    own = getattr(space, kind)
    cosines = queries @ own.T
    alone = (cosines > np.diagonal(cosines)[:, None]).sum(axis=1)
    assert (found == 0).mean() >= (alone == 0).mean() - 0.08
    assert (found < 10).mean() >= (alone < 10).mean() - 0.02


@pytest.mark.parametrize("kind", VECTOR_NAMES)
@pytest.mark.parametrize("copies", [2, 4])
def test_copies_in_the_collection_are_no_measure_of_the_unrelated(kind, copies):
    space = Space(200)
    image, text = (
        np.concatenate([vectors, *(space.changed(vectors) for _ in range(copies - 1))])
        for vectors in (space.image, space.text)
    )
    calibration = calibrated(image, text)
    queries = space.changed(getattr(space, kind))
    found = ranks(calibration, queries, kind, image, text)
    assert (found < copies).mean() >= 0.9
    once = calibrated(space.image, space.text)
    scales = [one.scale([Weighted(queries[0], 1.0, kind)], kind) for one in (calibration, once)]
    assert scales[0].best == pytest.approx(scales[1].best, abs=0.15)


def test_a_sample_tells_of_the_whole():
    space = Space(4 * SAMPLE)
    counts = {"image": 4 * SAMPLE, "text": 4 * SAMPLE}
    sampled = measure({name: sample(getattr(space, name)) for name in VECTOR_NAMES}, counts)
    for kind in VECTOR_NAMES:
        for name in VECTOR_NAMES:
            queries, vectors = getattr(space, kind)[:256], getattr(space, name)
            cosines = queries @ vectors.T
            cosines[np.arange(256), np.arange(256)] = -1
            best = cosines.max(axis=1)
            figures = sampled.figures[kind, name]
            assert figures.best == pytest.approx(best.mean(), abs=0.05)
            assert figures.best_spread == pytest.approx(best.std(), abs=0.05)


def test_it_depends_on_the_points_alone_and_survives_as_json():
    space = Space(60)
    once, twice = (calibrated(space.image, space.text) for _ in range(2))
    kept = once.to_json()
    assert kept == twice.to_json()
    assert len(json.dumps(kept)) < 64 * 1024
    again = Calibration.from_json(json.loads(json.dumps(kept)))
    terms = [Weighted(space.image[0], 1.0, None), Weighted(space.text[1], -0.5, "text")]
    for name in VECTOR_NAMES:
        assert again.scale(terms, name) == once.scale(terms, name)


@pytest.mark.parametrize(("images", "texts"), [(1, 1), (2, 1), (500, 1), (1, 500), (3, 2)])
def test_a_name_with_hardly_a_vector_has_finite_scores_that_order_as_cosines_do(images, texts):
    space = Space(max(images, texts))
    calibration = calibrated(space.image[:images], space.text[:texts])
    assert calibration.both
    for kind in VECTOR_NAMES:
        for name in VECTOR_NAMES:
            scale = calibration.scale([Weighted(space.image[0], 1.0, kind)], name)
            scores = [scale.score(cosine) for cosine in (-1, 0, 0.2, 0.5, 0.9, 1)]
            assert np.isfinite(scores).all()
            assert scores == sorted(scores)
    # A text that is there is found before images that merely are there too.
    same = calibration.scale([Weighted(space.text[0], 1.0, "text")], "text").score(0.95)
    other = calibration.scale([Weighted(space.text[0], 1.0, "text")], "image").score(0.2)
    assert same > other


def test_vectors_of_unknown_kind_are_told_by_those_around_them():
    space = Space(300)
    calibration = calibrated(space.image, space.text)
    for kind in VECTOR_NAMES:
        told = [
            calibration.kind(Weighted(vector, 1.0, None)) for vector in space.changed(getattr(space, kind))
        ]
        assert np.mean([one == kind for one in told]) > 0.95
    assert calibration.kind(Weighted(space.text[0], 1.0, "image")) == "image"


@pytest.mark.parametrize(("name", "texts"), [("image", 300), ("text", 300), ("image", 0)])
def test_a_weight_means_the_same_for_words_and_for_images(name, texts):
    """Half an image moves the cosines of a query as far as half a text, measured in their spreads."""
    space = Space(300)
    calibration = calibrated(space.image, space.text[:texts])
    vectors = getattr(space, name)
    shares = []
    for _ in range(50):
        image, text = space.random.integers(300, size=2)
        terms = [Weighted(space.image[image], 1.0, "image"), Weighted(space.text[text], 1.0, "text")]
        weights = [1 / calibration.spread(term, name) for term in terms]
        moved = [
            (weight * (vectors @ term.vector)).std() for weight, term in zip(weights, terms, strict=True)
        ]
        shares.append(moved[0] / moved[1])
    assert np.median(shares) == pytest.approx(1, abs=0.25)


@pytest.mark.parametrize("name", VECTOR_NAMES)
@pytest.mark.parametrize(
    "weights", [(1.0, 1.0), (1.0, -0.5), (2.0, 1.0), (1.0, 1.0, -0.3)], ids=lambda weights: str(weights)
)
def test_the_scale_of_several_terms_is_that_of_their_mixture(name, weights):
    space = Space(600)
    calibration = calibrated(space.image, space.text)
    vectors = getattr(space, name)
    told, seen = [], []
    for _ in range(200):
        chosen = space.random.integers(600, size=len(weights))
        kinds = ["image", "text", "image"]
        terms = [
            Weighted(getattr(space, kind)[i], weight, kind)
            for i, weight, kind in zip(chosen, weights, kinds, strict=False)
        ]
        spreads = [calibration.spread(term, name) for term in terms]
        query = compose(
            [term.vector for term in terms],
            [term.weight / spread for term, spread in zip(terms, spreads, strict=True)],
        )
        others = np.delete(vectors, chosen, axis=0)
        seen.append(float((others @ query).max()))
        told.append(calibration.scale(terms, name).best)
    assert np.mean(told) == pytest.approx(np.mean(seen), abs=1.5 * float(np.std(seen)))
