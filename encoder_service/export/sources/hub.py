"""A model's files from the Hugging Face hub: those that are needed, one set of weights, into its cache.

What is in the cache already is not fetched again, and without a network it is all that is looked at.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from encoder_service.export import ExportError
from encoder_service.runtime.session import first_line

OPEN_CLIP_CONFIG = "open_clip_config.json"
TRANSFORMERS_CONFIG = "config.json"

# In the order of preference; an index stands for the files that it lists.
OPEN_CLIP_WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
)
TRANSFORMERS_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_DESCRIPTION = (
    "README.md",
    TRANSFORMERS_CONFIG,
    OPEN_CLIP_CONFIG,
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "*.model",
)
# In this order, because a gated repository's error is a missing one's too.
_SAID: dict[type[Exception], str] = {
    GatedRepoError: "is gated: accept its terms on its page, and set HF_TOKEN to your token",
    RevisionNotFoundError: "has no revision {revision!r}: it is a branch, a tag or a commit",
    RepositoryNotFoundError: "is not on the hub, or private: set HF_TOKEN to a token that may read it",
    HFValidationError: "is neither a folder here nor an id such as openai/clip-vit-base-patch32",
}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder with a model's files, the name that people know it by, and its commit on the hub."""

    folder: Path
    name: str
    revision: str = ""

    @property
    def open_clip(self) -> bool:
        """Whether OpenCLIP's own format is there."""
        return (self.folder / OPEN_CLIP_CONFIG).is_file()

    @property
    def transformers(self) -> bool:
        """Whether transformers' format is there."""
        return (self.folder / TRANSFORMERS_CONFIG).is_file()


def description(repository: str, revision: str | None, local_files_only: bool) -> Checkpoint:
    """All but the weights. Raises ExportError where the repository cannot be had."""
    folder = _snapshot(repository, revision, local_files_only, _DESCRIPTION)
    return Checkpoint(folder, repository, folder.name)


def weights(checkpoint: Checkpoint, names: Sequence[str], local_files_only: bool) -> None:
    """Fetches the first set of weights that there is, to beside the description. Raises ExportError."""
    there = {name for name in names if (checkpoint.folder / name).is_file()}
    if not there and not local_files_only:
        try:
            there = set(HfApi().list_repo_files(checkpoint.name, revision=checkpoint.revision))
        except Exception as error:
            raise _explained(error, checkpoint.name, checkpoint.revision) from None
    chosen = next((name for name in names if name in there), None)
    if chosen is None:
        raise ExportError(f"{checkpoint.name} has no weights in a file that is read here: {', '.join(names)}")
    wanted = [chosen]
    if chosen.endswith(".index.json"):
        _snapshot(checkpoint.name, checkpoint.revision, local_files_only, wanted)
        index = json.loads((checkpoint.folder / chosen).read_text(encoding="utf-8"))
        wanted += sorted(set(index["weight_map"].values()))
    _snapshot(checkpoint.name, checkpoint.revision, local_files_only, wanted)


def _snapshot(repository: str, revision: str | None, local_files_only: bool, patterns: Sequence[str]) -> Path:
    try:
        folder = snapshot_download(
            repository, revision=revision, local_files_only=local_files_only, allow_patterns=list(patterns)
        )
    except Exception as error:  # three libraries' exceptions, some of them bare
        raise _explained(error, repository, revision) from None
    return Path(folder)


def _explained(error: Exception, repository: str, revision: str | None) -> ExportError:
    """One sentence."""
    for kind, said in _SAID.items():
        if isinstance(error, kind):
            return ExportError(f"{repository} {said.format(revision=revision)}")
    if isinstance(error, HfHubHTTPError):
        return ExportError(f"{repository}: the hub answered with an error: {first_line(error)}")
    if isinstance(error, LocalEntryNotFoundError | ConnectionError) or "httpx" in type(error).__module__:
        return ExportError(
            f"{repository} is not in the hub's cache here, and the hub cannot be reached: {_reason(error)}"
        )
    return ExportError(f"{repository} cannot be fetched: {first_line(error)}")


def _reason(error: BaseException) -> str:
    """Of the deepest error, which says what the network said."""
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)
