"""A model's tokenizer as the one file that the service runs, whatever it was saved as."""

from __future__ import annotations

import json
import string
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from tokenizers import Regex, Tokenizer, normalizers, processors

from encoder_service.bundle import TextRules
from encoder_service.export import ExportError
from encoder_service.export.sources.bpe import bpe
from encoder_service.runtime.session import first_line

Side = Literal["right", "left"]

# What transformers says of a tokenizer without a limit.
_NO_LIMIT = 100_000

_SPACES = [normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
_PUNCTUATION = normalizers.Replace(Regex("[" + "".join("\\" + sign for sign in string.punctuation) + "]"), "")
_SIGLIP = [normalizers.Lowercase(), _PUNCTUATION, *_SPACES]
# OpenCLIP mends texts with `ftfy` before anything else. This is what a tokenizer.json can say of it.
_MENDED = [
    normalizers.Replace(Regex("[‘’‚‛]"), "'"),
    normalizers.Replace(Regex("[“”„‟]"), '"'),
    *(
        normalizers.Replace(old, new)
        for old, new in {"ﬁ": "fi", "ﬂ": "fl", "ﬀ": "ff", "ﬃ": "ffi", "ﬄ": "ffl"}.items()
    ),
    normalizers.Replace("\u3000", " "),
    normalizers.NFC(),
]
_CLEAN = {
    "whitespace": [*_MENDED, *_SPACES],
    "lower": [*_MENDED, *_SPACES, normalizers.Lowercase()],
    "canonicalize": [
        *_MENDED,
        normalizers.Replace("_", " "),
        _PUNCTUATION,
        normalizers.Lowercase(),
        *_SPACES,
    ],
}


@dataclass(frozen=True, slots=True)
class LoadedTokenizer:
    """A tokenizer and how its library lays out texts; `reference`: the library's own, None = not to be had.

    `limit` is the tokenizer's own context length, 0 = none; `masked`: it gives an attention mask.
    """

    tokenizer: Tokenizer
    pad_id: int
    limit: int = 0
    masked: bool = False
    padding_side: Side = "right"
    truncation_side: Side = "right"
    reference: Any = None

    def rules(self, context_length: int, *, lowercase: bool = False) -> TextRules:
        """Padded to the whole context, as the library does it."""
        return TextRules(
            context_length=min(context_length, self.limit or context_length),
            pad_id=self.pad_id,
            padding="max_length",
            attention_mask=self.masked,
            lowercase=lowercase,
            padding_side=self.padding_side,
            truncation_side=self.truncation_side,
        )


def of_transformers(folder: str | Path) -> LoadedTokenizer:
    """Loads the tokenizer of a folder or hub id. Raises ExportError.

    SigLIP's own class runs SentencePiece itself and has no form that the service could run: in its place
    stands `tokenizer.json` or, where there is none, T5's, which reads the same file; that class's clean-up
    of texts is put before it.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast, T5Tokenizer

    reference, refusal = _try(AutoTokenizer, folder)
    loaded = reference
    if getattr(loaded, "backend_tokenizer", None) is None:
        loaded, missing = _try(PreTrainedTokenizerFast, folder)
    if loaded is None and (Path(folder) / "spiece.model").is_file():
        loaded, missing = _try(T5Tokenizer, folder, extra_ids=0)
    if loaded is None:
        raise ExportError(
            f"{folder} has no tokenizer.json that can be used ({refusal or missing}); "
            "save its fast tokenizer beside the weights"
        )
    tokenizer = Tokenizer.from_str(loaded.backend_tokenizer.to_str())
    if "SiglipTokenizer" in (type(reference).__name__, _class_named(Path(folder))):
        tokenizer = after(tokenizer, _SIGLIP)
    pad = loaded.pad_token_id if loaded.pad_token_id is not None else loaded.eos_token_id
    if pad is None:
        raise ExportError(f"the tokenizer of {folder} names no padding token and no end token")
    told = reference or loaded
    return LoadedTokenizer(
        tokenizer=tokenizer,
        pad_id=int(pad),
        limit=told.model_max_length if told.model_max_length < _NO_LIMIT else 0,
        masked="attention_mask" in told.model_input_names,
        padding_side=told.padding_side,
        truncation_side=told.truncation_side,
        reference=reference,
    )


def of_open_clip(text: Mapping[str, Any], folder: Path | None) -> LoadedTokenizer:
    """The tokenizer that OpenCLIP's `text_cfg` names, from `folder` if it lies there. Raises ExportError."""
    from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

    settings = text.get("tokenizer_kwargs") or {}
    unknown = settings.keys() - {"clean", "strip_sep_token"}
    if unknown or text.get("tokenizer_mode"):
        raise ExportError(
            f"OpenCLIP's tokenizer setting {min(unknown, default='tokenizer_mode')} is not known here"
        )
    name = text.get("hf_tokenizer_name")
    if not name:
        made = bpe(
            after=("<start_of_text>", "<end_of_text>"),
            template="<start_of_text> $A <end_of_text>",
            lowercase=False,
        )
        made = after(made, _CLEAN[settings.get("clean", "lower")])
        return LoadedTokenizer(made, pad_id=0, reference=SimpleTokenizer(**settings))
    source = folder if folder and (folder / "tokenizer_config.json").is_file() else name
    loaded = of_transformers(source)
    tokenizer = after(loaded.tokenizer, _CLEAN[settings.get("clean", "whitespace")])
    if settings.get("strip_sep_token"):
        _end_with_padding(tokenizer)
    reference = HFTokenizer(str(source), **settings) if loaded.reference is not None else None
    return replace(loaded, tokenizer=tokenizer, limit=0, masked=False, reference=reference)


def after(tokenizer: Tokenizer, steps: list[Any]) -> Tokenizer:
    """The tokenizer with these steps before its own normalisation."""
    own = [] if tokenizer.normalizer is None else [tokenizer.normalizer]
    tokenizer.normalizer = normalizers.Sequence([*steps, *own])
    return tokenizer


def _end_with_padding(tokenizer: Tokenizer) -> None:
    """Puts token 0 in the place of the separator that closes a text, as CLIPA's models were trained."""
    padding = tokenizer.id_to_token(0)
    first = tokenizer.encode("a").tokens[0]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {padding}", special_tokens=[(first, tokenizer.token_to_id(first)), (padding, 0)]
    )


def tokenizer_json(tokenizer: Tokenizer) -> str:
    """The content of `tokenizer.json`, truncation and padding taken out: the service does both."""
    settings = json.loads(tokenizer.to_str())
    settings["truncation"] = settings["padding"] = None
    return json.dumps(settings, ensure_ascii=False, indent=1) + "\n"


def _class_named(folder: Path) -> str | None:
    settings = folder / "tokenizer_config.json"
    named: str | None = None
    if settings.is_file():
        named = json.loads(settings.read_text(encoding="utf-8")).get("tokenizer_class")
    return named


def _try(kind: Any, source: str | Path, **options: Any) -> tuple[Any, str]:
    """The tokenizer, or None and the reason. The libraries raise anything, bare Exception included."""
    try:
        return kind.from_pretrained(source, trust_remote_code=False, **options), ""
    except Exception as error:
        return None, first_line(error)
