"""Makes model bundles. The only place that may import torch, transformers or onnx."""

from __future__ import annotations

from collections.abc import Callable

# Hears what is being done, for people.
Progress = Callable[[str], None]


class ExportError(Exception):
    """The bundle cannot be made or checked; the message says what to do about it."""
