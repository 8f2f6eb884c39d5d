"""The bounds of Classify's prompts, without making any."""

from __future__ import annotations

import tracemalloc

import pytest

from clipsearch.serving.errors import InvalidArgument
from encoder_service.classify import check_prompts
from encoder_service.prompts import prompt_bytes


@pytest.mark.parametrize("template", ["{}", "a {}", "{} and {}", "\u00e9{}", "{{}}", "{}{}{}"])
@pytest.mark.parametrize("label", ["cat", "\u00e9t\u00e9", "\U0001f680", "{}"])
def test_the_length_is_that_of_the_prompt_that_would_be_made(template, label):
    assert prompt_bytes(template, [label]) == [len(template.replace("{}", label).encode())]


def test_all_of_them_together_are_bounded_too():
    labels = [f"{number:04}" * 10 for number in range(100)]
    check_prompts("{}", labels, 40, 4000)
    with pytest.raises(InvalidArgument, match="labels: all prompts would have 4000 bytes, the limit is 3999"):
        check_prompts("{}", labels, 40, 3999)


def test_a_product_of_template_and_labels_is_never_made():
    labels = [f"{number:05}" + "x" * 50_000 for number in range(200)]
    template = "{}" * 32_000  # the prompts would have 320 GB
    tracemalloc.start()
    with pytest.raises(InvalidArgument, match=r"labels\[0\]: its prompt would have 1600160000 bytes"):
        check_prompts(template, labels, 64 * 1024, 1024 * 1024)
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()
