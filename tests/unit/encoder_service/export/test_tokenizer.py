from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from encoder_service.export import ExportError
from encoder_service.export.architectures import ARCHITECTURES, tokenizer
from encoder_service.export.tokenizer import load_tokenizer, tokenizer_json


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

    loaded = load_tokenizer(str(clip_folder))
    assert isinstance(loaded.reference, CLIPTokenizer)
    assert loaded.tokenizer.encode("A cat, 2 dogs").ids == loaded.reference("A cat, 2 dogs")["input_ids"]
    assert loaded.end_id == 2047


def test_siglips_own_clean_up_is_put_before_its_tokenizer_json(siglip_folder: Path) -> None:
    from transformers.models.auto.tokenization_auto import AutoTokenizer

    with pytest.raises(ImportError):  # or this test would be about nothing
        AutoTokenizer.from_pretrained(siglip_folder)
    loaded = load_tokenizer(str(siglip_folder))
    plain = tokenizer(ARCHITECTURES["siglip-tiny-test"])
    # The rule of transformers' SiglipTokenizer.canonicalize_text.
    assert (
        loaded.tokenizer.encode(" It's a [Cat] --  on\ta \\^mat_! ").ids
        == plain.encode("its a cat on a mat").ids
    )
    assert (loaded.pad_id, loaded.end_id, loaded.reference) == (0, 1, None)


def test_a_checkpoint_without_tokenizer_json_is_refused(siglip_folder: Path) -> None:
    (siglip_folder / "tokenizer.json").unlink()
    with pytest.raises(ExportError, match=r"no tokenizer\.json that can be used .*SentencePiece"):
        load_tokenizer(str(siglip_folder))


def test_the_written_tokenizer_neither_cuts_nor_pads() -> None:
    made = tokenizer(ARCHITECTURES["clip-vit-tiny-test"])
    made.enable_truncation(4)
    made.enable_padding(length=77)
    written = Tokenizer.from_str(tokenizer_json(made))
    assert written.truncation is None
    assert written.padding is None
    assert len(written.encode("one two three four five").ids) > 4
