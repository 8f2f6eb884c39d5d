"""Texts to ids: what is kept, what is cut, how a batch is padded."""

from __future__ import annotations

import tracemalloc
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoder_service.bundle import BundleError, TextRules, read_manifest
from encoder_service.inputs import texts
from encoder_service.inputs.errors import InputError
from encoder_service.inputs.texts import TextInput, TextTokenizer, Tokens, check_text, pad

RULES = TextRules(context_length=12, pad_id=0, padding="longest", attention_mask=True)
BEGIN, END = 1, 2


@pytest.fixture(scope="module")
def tokenizer(toy_bundle: Path) -> TextTokenizer:
    return TextTokenizer(toy_bundle, read_manifest(toy_bundle).text)


def test_a_text_gets_its_special_tokens(tokenizer: TextTokenizer) -> None:
    tokens = tokenizer.encode(["a cat"])[0]
    assert tokens.ids == (BEGIN, 4, 5, END)
    assert tokens.input == TextInput(tokens=4, tokens_dropped=0)


def test_a_text_of_exactly_the_context_is_whole_and_one_more_word_is_cut(tokenizer: TextTokenizer) -> None:
    fits, over = tokenizer.encode(["cat " * 10, "cat " * 11])
    assert fits.input == TextInput(tokens=12, tokens_dropped=0)
    assert over.input == TextInput(tokens=12, tokens_dropped=1)
    assert over.ids == fits.ids
    assert over.ids[-1] == END, "the end token stays: towers pool there"


@given(words=st.integers(1, 60))
def test_nothing_is_dropped_untold(tokenizer: TextTokenizer, words: int) -> None:
    done = tokenizer.encode(["dog " * words])[0].input
    assert done.tokens + done.tokens_dropped == words + 2


def test_lower_casing_is_the_manifests_choice(toy_bundle: Path) -> None:
    rules = RULES.model_copy(update={"lowercase": True})
    as_it_is, lowered = TextTokenizer(toy_bundle, RULES), TextTokenizer(toy_bundle, rules)
    assert lowered.encode(["A CAT"])[0].ids == as_it_is.encode(["a cat"])[0].ids
    assert as_it_is.encode(["A CAT"])[0].ids != as_it_is.encode(["a cat"])[0].ids


@pytest.mark.parametrize("letters", ["", "cat"])
def test_of_a_long_blank_text_each_character_is_looked_at_once(letters: str, monkeypatch) -> None:
    looked, unseen = list[str](), texts._unseen

    def noted(character: str) -> bool:
        looked.append(character)
        return unseen(character)

    monkeypatch.setattr(texts, "_unseen", noted)
    refused = pytest.raises(InputError) if not letters else nullcontext()
    with refused:
        check_text(" " * 10_000 + "\u200b \u2800" * 5_000 + letters, max_bytes=1 << 20)
    assert len(looked) < 100


def test_behind_the_first_that_is_seen_no_character_is_looked_at() -> None:
    """A set of 20,000 characters takes 4 MB and 2 ms, of the 256 texts of a call 0.5 s."""
    text = "\u200b" * 64 + "".join(map(chr, range(0x4E00, 0x4E00 + 20_000)))
    tracemalloc.start()
    check_text(text, max_bytes=1 << 20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 500_000


@pytest.mark.parametrize(
    "text",
    ["", " ", "\n\t ", "\u2003\u00a0", "\u200b", "\ufeff", "\u200e \u2060\u00ad", "\0\x7f", "\U000e0041"],
)
def test_a_text_without_a_letter_is_refused(text: str) -> None:
    with pytest.raises(InputError) as caught:
        check_text(text, max_bytes=1200)
    assert caught.value.reason == "TEXT_EMPTY"


@pytest.mark.parametrize("letter", ["a", "é", "猫", "😀"])
def test_the_byte_limit_counts_utf_8_and_names_limit_and_value(letter: str) -> None:
    size = len(letter.encode())
    check_text(letter * (1200 // size), max_bytes=1200)
    with pytest.raises(InputError, match=f"{1200 + size} bytes, the limit is 1200") as caught:
        check_text(letter * (1200 // size + 1), max_bytes=1200)
    assert caught.value.reason == "TEXT_TOO_LARGE"


def tokens(*ids: int) -> Tokens:
    return Tokens(ids, TextInput(len(ids)))


def test_a_batch_is_cut_to_its_longest_text() -> None:
    inputs = pad([tokens(1, 2), tokens(1, 5, 6, 2)], RULES)
    assert inputs["input_ids"].tolist() == [[1, 2, 0, 0], [1, 5, 6, 2]]
    assert inputs["attention_mask"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert {array.dtype.name for array in inputs.values()} == {"int64"}


def test_a_tower_that_sees_its_padding_gets_the_whole_context_and_no_mask() -> None:
    rules = TextRules(context_length=6, pad_id=9, padding="max_length")
    inputs = pad([tokens(1, 2)], rules)
    assert list(inputs) == ["input_ids"]
    assert inputs["input_ids"].tolist() == [[1, 2, 9, 9, 9, 9]]


def test_padding_and_cutting_on_the_left(toy_bundle: Path) -> None:
    rules = RULES.model_copy(update={"padding_side": "left", "truncation_side": "left", "context_length": 5})
    inputs = pad([tokens(1, 2), tokens(1, 5, 6, 2)], rules)
    assert inputs["input_ids"].tolist() == [[0, 0, 1, 2], [1, 5, 6, 2]]
    assert inputs["attention_mask"].tolist() == [[0, 0, 1, 1], [1, 1, 1, 1]]
    (cut,) = TextTokenizer(toy_bundle, rules).encode(["cat cat dog a cat"])
    assert cut.ids == (BEGIN, 6, 4, 5, END), "special tokens stay at both ends"
    assert cut.input == TextInput(tokens=5, tokens_dropped=2)


def test_a_broken_tokenizer_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(BundleError, match=r"tokenizer\.json is not a tokenizer"):
        TextTokenizer(tmp_path, RULES)
