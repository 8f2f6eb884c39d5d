from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from encoder_service.export import ExportError, golden
from encoder_service.export.sources.architectures import ARCHITECTURES, tokenizer
from encoder_service.export.sources.tokenizer import of_open_clip, of_transformers, tokenizer_json
from encoder_service.inputs.texts import TextTokenizer


@pytest.fixture
def clip_folder(tmp_path: Path) -> Path:
    """The two files that CLIP's tokenizer was published in, without a tokenizer.json."""
    bpe = json.loads(tokenizer(ARCHITECTURES["clip-vit-tiny-test"]).to_str())["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(bpe["vocab"]))
    merges = "\n".join(" ".join(pair) for pair in bpe["merges"])
    (tmp_path / "merges.txt").write_text(f"#version: 0.2\n{merges}\n")
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "CLIPTokenizer"}')
    return tmp_path


@pytest.fixture
def siglip_folder(tmp_path: Path) -> Path:
    """As SigLIP was published: the configuration names a class that needs SentencePiece."""
    from transformers import PreTrainedTokenizerFast, SiglipConfig

    made = tokenizer(ARCHITECTURES["siglip-tiny-test"])
    PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", eos_token="</s>").save_pretrained(
        tmp_path
    )
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({**settings, "tokenizer_class": "SiglipTokenizer"})
    )
    SiglipConfig().save_pretrained(tmp_path)
    return tmp_path


def test_vocabulary_and_merges_become_one_file(clip_folder: Path) -> None:
    from transformers import CLIPTokenizer

    loaded = of_transformers(str(clip_folder))
    assert isinstance(loaded.reference, CLIPTokenizer)
    assert loaded.tokenizer.encode("A cat, 2 dogs").ids == loaded.reference("A cat, 2 dogs")["input_ids"]
    assert (loaded.pad_id, loaded.masked) == (2047, True)


def test_siglips_own_clean_up_is_put_before_its_tokenizer_json(siglip_folder: Path) -> None:
    loaded = of_transformers(str(siglip_folder))
    plain = tokenizer(ARCHITECTURES["siglip-tiny-test"])
    # The rule of transformers' SiglipTokenizer.canonicalize_text.
    assert (
        loaded.tokenizer.encode(" It's a [Cat] --  on\ta \\^mat_! ").ids
        == plain.encode("its a cat on a mat").ids
    )
    assert (loaded.pad_id, loaded.reference) == (0, None)


def test_where_there_is_only_siglips_sentencepiece_file_the_ids_are_those_of_its_class(
    siglip_folder: Path,
) -> None:
    from sentencepiece import SentencePieceTrainer

    (siglip_folder / "tokenizer.json").unlink()
    texts = siglip_folder / "texts"
    texts.write_text("\n".join(text.lower() for pair in golden.text_pairs() for text in pair))
    SentencePieceTrainer.train(
        input=str(texts),
        model_prefix=str(siglip_folder / "spiece"),
        vocab_size=300,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    loaded = of_transformers(str(siglip_folder))
    assert type(loaded.reference).__name__ == "SiglipTokenizer"
    for text in ("A Cat, on a [mat]!", "two children share an umbrella", " sunrise  over mountains_ "):
        assert loaded.tokenizer.encode(text).ids == loaded.reference(text)["input_ids"]


def test_a_checkpoint_without_tokenizer_json_is_refused(siglip_folder: Path) -> None:
    (siglip_folder / "tokenizer.json").unlink()
    with pytest.raises(ExportError, match=r"no tokenizer\.json that can be used"):
        of_transformers(str(siglip_folder))


def test_the_written_tokenizer_neither_cuts_nor_pads() -> None:
    made = tokenizer(ARCHITECTURES["clip-vit-tiny-test"])
    made.enable_truncation(4)
    made.enable_padding(length=77)
    written = Tokenizer.from_str(tokenizer_json(made))
    assert written.truncation is None
    assert written.padding is None
    assert len(written.encode("one two three four five").ids) > 4


SAID = [
    "A Cat, on a mat!",
    "  a  cat\ton a mat ",
    "naïve café, 2 pears",
    "“quoted” ‘texts’ ﬁnely set",
    "snake_case [x]",
]


@pytest.mark.parametrize("clean", ["lower", "whitespace", "canonicalize"])
def test_open_clips_own_tokenizer_and_its_clean_ups(clean: str) -> None:
    loaded = of_open_clip({"tokenizer_kwargs": {"clean": clean}}, None)
    own = loaded.reference(SAID, context_length=40).tolist()
    assert [padded(loaded.tokenizer.encode(text).ids, 40) for text in SAID] == own


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("word_piece", {"strip_sep_token": True}),
        ("xlm_roberta", {}),
        ("t5", {"clean": "canonicalize"}),
        ("gemma", {"clean": "canonicalize"}),
        ("nllb", {}),
        ("roberta", {}),
    ],
)
def test_tokenizers_that_open_clip_takes_from_transformers(kind: str, settings: Any, tmp_path: Path) -> None:
    from transformers import T5Config

    from tests.models import hub_cache

    hub_cache.tokenizer(kind).save_pretrained(tmp_path)
    T5Config().save_pretrained(tmp_path)  # transformers asks for one, whatever it says
    loaded = of_open_clip({"hf_tokenizer_name": "some/name", "tokenizer_kwargs": settings}, tmp_path)
    tokens = TextTokenizer(loaded.tokenizer, loaded.rules(12)).encode(SAID)
    own = loaded.reference(SAID, context_length=12).tolist()
    assert [padded(text.ids, 12, loaded.pad_id) for text in tokens] == own


def padded(ids: Sequence[int], length: int, pad_id: int = 0) -> list[int]:
    return [*ids, *[pad_id] * (length - len(ids))]


def test_what_open_clip_does_to_texts_and_is_not_known_here_is_refused() -> None:
    with pytest.raises(ExportError, match="setting reduction_mask is not known here"):
        of_open_clip({"tokenizer_kwargs": {"reduction_mask": "syntax"}}, None)
    with pytest.raises(ExportError, match="setting tokenizer_mode is not known here"):
        of_open_clip({"tokenizer_mode": "clips"}, None)
