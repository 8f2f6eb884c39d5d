"""A hub's cache with the configurations and tokenizers that OpenCLIP asks for, of the real classes.

OpenCLIP's text towers of other families read their configuration from the hub, and its tokenizers come
from there. Configurations have the published sizes. Vocabularies are small, learned from the golden texts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import transformers
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from encoder_service.export import golden

COMMIT = "0" * 40
_LIBRARY: Any = transformers  # most of it has no types

# Of the hidden size: layers, heads, the feed-forward's width, the vocabulary.
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "roberta-base": {
        "kind": "Roberta",
        "vocab_size": 50265,
        "max_position_embeddings": 514,
        "type_vocab_size": 1,
    },
    "xlm-roberta-base": {
        "kind": "XLMRoberta",
        "vocab_size": 250002,
        "max_position_embeddings": 514,
        "type_vocab_size": 1,
    },
    "xlm-roberta-large": {
        "kind": "XLMRoberta",
        "vocab_size": 250002,
        "max_position_embeddings": 514,
        "type_vocab_size": 1,
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
    },
    "google/mt5-base": {
        "kind": "MT5",
        "vocab_size": 250112,
        "d_model": 768,
        "d_kv": 64,
        "d_ff": 2048,
        "num_layers": 12,
        "num_heads": 12,
        "feed_forward_proj": "gated-gelu",
    },
    "google/mt5-xl": {
        "kind": "MT5",
        "vocab_size": 250112,
        "d_model": 2048,
        "d_kv": 64,
        "d_ff": 5120,
        "num_layers": 24,
        "num_heads": 32,
        "feed_forward_proj": "gated-gelu",
    },
    "facebook/nllb-200-distilled-600M": {
        "kind": "M2M100",
        "vocab_size": 256206,
        "d_model": 1024,
        "encoder_layers": 12,
        "decoder_layers": 1,
        "encoder_ffn_dim": 4096,
        "encoder_attention_heads": 16,
        "activation_function": "relu",
    },
    "facebook/nllb-200-distilled-1.3B": {
        "kind": "M2M100",
        "vocab_size": 256206,
        "d_model": 1024,
        "encoder_layers": 24,
        "decoder_layers": 1,
        "encoder_ffn_dim": 8192,
        "encoder_attention_heads": 16,
        "activation_function": "relu",
    },
}
_LAYERS = ("num_hidden_layers", "num_layers", "encoder_layers")

_TOKENIZERS = {
    "bert-base-uncased": "word_piece",
    "roberta-base": "roberta",
    "xlm-roberta-base": "xlm_roberta",
    "xlm-roberta-large": "xlm_roberta",
    "facebook/xlm-v-base": "xlm_roberta",
    "google/mt5-base": "t5",
    "google/mt5-xl": "t5",
    "facebook/nllb-200-distilled-600M": "nllb",
    "facebook/nllb-200-distilled-1.3B": "nllb",
    "timm/ViT-B-16-SigLIP": "t5",
    "timm/ViT-B-16-SigLIP-i18n-256": "t5",
    **dict.fromkeys(
        (
            "timm/ViT-B-16-SigLIP2",
            "timm/ViT-B-16-SigLIP2-256",
            "timm/ViT-B-16-SigLIP2-384",
            "timm/ViT-B-16-SigLIP2-512",
            "timm/ViT-B-32-SigLIP2-256",
            "timm/ViT-L-16-SigLIP2-256",
            "timm/ViT-L-16-SigLIP2-384",
            "timm/ViT-L-16-SigLIP2-512",
            "timm/ViT-SO400M-14-SigLIP2",
            "timm/ViT-SO400M-14-SigLIP2-378",
            "timm/ViT-SO400M-16-SigLIP2-256",
            "timm/ViT-SO400M-16-SigLIP2-384",
            "timm/ViT-SO400M-16-SigLIP2-512",
            "timm/ViT-gopt-16-SigLIP2-256",
            "timm/ViT-gopt-16-SigLIP2-384",
        ),
        "gemma",
    ),
}


def fill(cache: Path, layers: int | None = None) -> None:
    """Writes it where `HF_HUB_CACHE` points; with `layers`, configurations of so many."""
    for name in {*CONFIGURATIONS, *_TOKENIZERS}:
        folder = cache / f"models--{name.replace('/', '--')}"
        snapshot = folder / "snapshots" / COMMIT
        snapshot.mkdir(parents=True, exist_ok=True)
        (folder / "refs").mkdir(exist_ok=True)
        (folder / "refs" / "main").write_text(COMMIT)
        made = configuration(name, layers) if name in CONFIGURATIONS else _LIBRARY.T5Config()
        made.save_pretrained(snapshot)
        if name in _TOKENIZERS:
            tokenizer(_TOKENIZERS[name]).save_pretrained(snapshot)


def configuration(name: str, layers: int | None = None) -> Any:
    """transformers' configuration of a text tower."""
    sizes = dict(CONFIGURATIONS[name])
    kind = getattr(_LIBRARY, f"{sizes.pop('kind')}Config")
    if layers:
        sizes |= {field: layers for field in _LAYERS if field in sizes}
        sizes |= (
            {"num_hidden_layers": layers} if "hidden_size" not in sizes and "d_model" not in sizes else {}
        )
    return kind(**sizes)


def tokenizer(kind: str, **options: Any) -> Any:
    """A tokenizer of a real class with a small vocabulary."""
    return _KINDS[kind](**options)


def word_piece(**options: Any) -> Any:
    """BERT's."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trained = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    trained.normalizer = normalizers.BertNormalizer()
    trained.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    _train(trained, trainers.WordPieceTrainer(vocab_size=800, special_tokens=special, show_progress=False))
    vocabulary = trained.get_vocab()
    return _LIBRARY.BertTokenizer(vocab=vocabulary, model_max_length=512, **options)


def roberta(**options: Any) -> Any:
    """RoBERTa's: BPE of bytes."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    _train(
        trained,
        trainers.BpeTrainer(
            vocab_size=800, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        ),
    )
    return _LIBRARY.RobertaTokenizer(**_bpe(trained), model_max_length=512, **options)


def xlm_roberta(**options: Any) -> Any:
    """XLM-R's and XLM-V's: SentencePiece, unigrams."""
    pieces = _unigrams(["<s>", "<pad>", "</s>", "<unk>"], 3)
    return _LIBRARY.XLMRobertaTokenizer(vocab=pieces, model_max_length=512, **options)


def t5(**options: Any) -> Any:
    """T5's, mT5's and that of SigLIP's English and multilingual models: SentencePiece, unigrams."""
    pieces = _unigrams(["<pad>", "</s>", "<unk>"], 2)
    return _LIBRARY.T5Tokenizer(vocab=pieces, extra_ids=0, **options)


def nllb(**options: Any) -> Any:
    """NLLB's: begins with the language."""
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    _train(trained, trainers.BpeTrainer(vocab_size=800, special_tokens=special, show_progress=False))
    return _LIBRARY.NllbTokenizer(**_bpe(trained), src_lang="eng_Latn", model_max_length=1024, **options)


def gemma(**options: Any) -> Any:
    """Gemma's, as SigLIP 2 has it: closes a text, padded at its end."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    trained = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    trained.normalizer = normalizers.Replace(" ", "▁")
    trained.pre_tokenizer = pre_tokenizers.Split(Regex("▁"), "merged_with_next")
    alphabet = [f"<0x{byte:02X}>" for byte in range(256)]
    _train(
        trained,
        trainers.BpeTrainer(vocab_size=1200, special_tokens=[*special, *alphabet], show_progress=False),
    )
    made = _LIBRARY.GemmaTokenizer(**_bpe(trained), padding_side="right", **options)
    made.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", 1)]
    )
    return made


_KINDS = {
    "word_piece": word_piece,
    "roberta": roberta,
    "xlm_roberta": xlm_roberta,
    "t5": t5,
    "nllb": nllb,
    "gemma": gemma,
}


def _unigrams(special: list[str], unknown: int) -> list[tuple[str, float]]:
    trained = Tokenizer(models.Unigram())
    trained.normalizer = normalizers.NFKC()
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trained.decoder = decoders.Metaspace()
    _train(
        trained,
        trainers.UnigramTrainer(
            vocab_size=800, special_tokens=special, unk_token=special[unknown], show_progress=False
        ),
    )
    return [(piece, score) for piece, score in json.loads(trained.to_str())["model"]["vocab"]]


def _bpe(trained: Tokenizer) -> dict[str, Any]:
    model = json.loads(trained.to_str())["model"]
    return {"vocab": model["vocab"], "merges": [tuple(pair) for pair in model["merges"]]}


def _train(tokenizer: Tokenizer, trainer: Any) -> None:
    tokenizer.train_from_iterator(_texts(), trainer)


def _texts() -> Iterator[str]:
    for pair in golden.text_pairs():
        yield from pair
        yield from (text.lower() for text in pair)
