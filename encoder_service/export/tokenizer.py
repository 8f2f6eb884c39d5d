"""A checkpoint's tokenizer as the one file that the service runs, whatever it was saved as."""

from __future__ import annotations

import json
import string
from dataclasses import dataclass
from typing import Any

from tokenizers import Regex, Tokenizer, normalizers

from encoder_service.export import ExportError


@dataclass(frozen=True, slots=True)
class LoadedTokenizer:
    """`reference` is transformers' own tokenizer to compare with, None where it cannot be loaded here."""

    tokenizer: Tokenizer
    pad_id: int
    end_id: int | None
    reference: Any = None


def load_tokenizer(source: str, **options: Any) -> LoadedTokenizer:
    """Loads the tokenizer of a folder or hub id; `options` go to transformers. Raises ExportError.

    SigLIP's own class needs SentencePiece and has no form that the service could run, so where it is
    asked for, `tokenizer.json` is taken, with that class's clean-up of texts put before it.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    reference, refusal = _try(AutoTokenizer, source, options)
    loaded = reference
    if getattr(loaded, "backend_tokenizer", None) is None:
        loaded, missing = _try(PreTrainedTokenizerFast, source, options)
        if loaded is None:
            raise ExportError(
                f"{source} has no tokenizer.json that can be used ({refusal or missing}); "
                "save its fast tokenizer beside the weights"
            )
    tokenizer = Tokenizer.from_str(loaded.backend_tokenizer.to_str())
    if loaded is not reference:
        tokenizer.normalizer = _clean_up(tokenizer.normalizer)
    pad = loaded.pad_token_id if loaded.pad_token_id is not None else loaded.eos_token_id
    if pad is None:
        raise ExportError(f"the tokenizer of {source} names no padding token and no end token")
    return LoadedTokenizer(tokenizer, int(pad), loaded.eos_token_id, reference)


def tokenizer_json(tokenizer: Tokenizer) -> str:
    """The content of `tokenizer.json`, truncation and padding taken out: the service does both."""
    settings = json.loads(tokenizer.to_str())
    settings["truncation"] = settings["padding"] = None
    return json.dumps(settings, ensure_ascii=False, indent=1) + "\n"


def _clean_up(before: Any) -> Any:
    """What SiglipTokenizer does to a text: lower case, no ASCII punctuation, single spaces. Idempotent."""
    punctuation = "".join("\\" + sign for sign in string.punctuation)
    steps = [
        normalizers.Lowercase(),
        normalizers.Replace(Regex(f"[{punctuation}]"), ""),
        normalizers.Replace(Regex(r"\s+"), " "),
        normalizers.Strip(),
    ]
    return normalizers.Sequence(steps if before is None else [*steps, before])


def _try(kind: Any, source: str, options: dict[str, Any]) -> tuple[Any, str]:
    """The tokenizer, or None and the reason. The libraries raise anything, bare Exception included."""
    try:
        return kind.from_pretrained(source, **options), ""
    except Exception as error:
        return None, next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
