"""Zero-shot probabilities for both kinds of model, and the bounds of prompts, without making any."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from clipsearch.serving.errors import InvalidArgument
from encoder_service.bundle import Manifest, read_manifest
from encoder_service.classify import best_first, check_prompts, probabilities, prompt_bytes


@pytest.fixture
def softmax(toy_bundle: Path) -> Manifest:
    return read_manifest(toy_bundle).model_copy(update={"logit_scale": 100.0})


@pytest.fixture
def sigmoid(softmax: Manifest) -> Manifest:
    return softmax.model_copy(update={"scoring": "sigmoid", "logit_scale": 100.0, "logit_bias": -10.0})


def cosines(*values: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.array(values, dtype=np.float32)


def test_softmax_probabilities_sum_to_one_and_follow_the_scale(softmax: Manifest) -> None:
    chances = probabilities(cosines(0.30, 0.29, 0.10), softmax)
    assert chances.sum() == pytest.approx(1)
    assert chances[0] / chances[1] == pytest.approx(np.e, rel=1e-4)
    assert probabilities(cosines(-0.5), softmax).tolist() == [1.0]


def test_sigmoid_judges_each_label_for_itself(sigmoid: Manifest) -> None:
    chances = probabilities(cosines(0.1, 0.1, -1.0, 1.0), sigmoid)
    assert chances[:2].tolist() == pytest.approx([0.5, 0.5], abs=1e-6)
    assert chances[2] == pytest.approx(0)
    assert chances[3] == pytest.approx(1)


def test_no_scale_overflows(sigmoid: Manifest, softmax: Manifest) -> None:
    with np.errstate(all="raise", under="ignore"):
        for manifest in (sigmoid, softmax):
            steep = manifest.model_copy(update={"logit_scale": 1e6})
            assert np.isfinite(probabilities(cosines(1, -1, 0), steep)).all()


def test_labels_come_best_first_and_equal_ones_in_their_order(softmax: Manifest) -> None:
    scores = best_first(["dog", "cat", "hound"], cosines(0.2, 0.3, 0.2), softmax)
    assert [score.label for score in scores] == ["cat", "dog", "hound"]
    assert scores[0].cosine == pytest.approx(0.3)
    assert scores[0].probability > scores[1].probability == scores[2].probability


@pytest.mark.parametrize("template", ["{}", "a {}", "{} and {}", "\u00e9{}", "{{}}", "{}{}{}"])
@pytest.mark.parametrize("label", ["cat", "\u00e9t\u00e9", "\U0001f680", "{}"])
def test_the_length_is_that_of_the_prompt_that_would_be_made(template, label):
    assert prompt_bytes(template, [label]) == [len(template.replace("{}", label).encode())]


def test_all_of_them_together_are_bounded_too():
    labels = [f"{number:04}" * 10 for number in range(100)]
    check_prompts("prompt_template", ["{}"], labels, most=100, most_bytes=40, most_bytes_in_all=4000)
    with pytest.raises(InvalidArgument, match="labels: all prompts would have 4000 bytes, the limit is 3999"):
        check_prompts("prompt_template", ["{}"], labels, most=100, most_bytes=40, most_bytes_in_all=3999)


def test_a_product_of_template_and_labels_is_never_made():
    labels = [f"{number:05}" + "x" * 50_000 for number in range(200)]
    template = "{}" * 32_000  # the prompts would have 320 GB
    tracemalloc.start()
    with pytest.raises(InvalidArgument, match=r"labels\[0\]: its prompt would have 1600160000 bytes"):
        check_prompts(
            "prompt_template",
            [template],
            labels,
            most=1000,
            most_bytes=64 * 1024,
            most_bytes_in_all=1024 * 1024,
        )
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


def test_templates_and_labels_together_make_no_more_prompts_than_may_wait():
    templates = [f"{n} {{}}" for n in range(4)]
    check_prompts("prompt_templates", templates, ["a", "b"], most=8, most_bytes=200, most_bytes_in_all=1000)
    with pytest.raises(InvalidArgument, match="4 templates with 2 labels make 8 prompts, 7 are allowed"):
        check_prompts(
            "prompt_templates", templates, ["a", "b"], most=7, most_bytes=200, most_bytes_in_all=1000
        )
