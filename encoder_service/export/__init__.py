"""Makes model bundles. The only place that may import torch, transformers or onnx."""

from __future__ import annotations


class ExportError(Exception):
    """The bundle cannot be made or checked; the message says what to do about it."""


def first_line(error: BaseException) -> str:
    """What an error says first; its type if it says nothing."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
