from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from encoder_service.export import golden
from encoder_service.export.sources.architectures import ARCHITECTURES, tokenizer

TEXTS = [text for pair in golden.text_pairs() for text in pair]


def test_the_clip_tokenizer_gives_the_ids_that_openai_published() -> None:
    # The example of OpenAI's CLIP repository and of every introduction to it.
    ids = tokenizer(ARCHITECTURES["clip-vit-base-patch32"]).encode("a photo of a cat").ids
    assert ids == [49406, 320, 1125, 539, 320, 2368, 49407]


def test_the_clip_tokenizer_agrees_with_transformers_on_all_golden_texts() -> None:
    from transformers import CLIPTokenizer

    ours = tokenizer(ARCHITECTURES["clip-vit-base-patch32"])
    model: Mapping[str, Any] = json.loads(ours.to_str())["model"]
    theirs = CLIPTokenizer(vocab=model["vocab"], merges=[tuple(pair) for pair in model["merges"]])
    assert [ours.encode(text).ids for text in TEXTS] == theirs(TEXTS)["input_ids"]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_tokenizer_has_exactly_the_tokens_that_the_text_tower_embeds(name: str) -> None:
    shape = ARCHITECTURES[name]
    made = tokenizer(shape)
    assert made.get_vocab_size() == shape.text["vocab_size"]
    assert sorted(made.get_vocab().values()) == list(range(shape.text["vocab_size"]))
    assert max(max(made.encode(text).ids) for text in TEXTS) < shape.text["vocab_size"]


def test_siglip_texts_end_with_the_end_token_and_begin_with_none() -> None:
    encoding = tokenizer(ARCHITECTURES["siglip-tiny-test"]).encode("a cat")
    assert encoding.tokens[-1] == "</s>"
    assert encoding.special_tokens_mask[0] == 0
