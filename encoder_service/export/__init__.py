"""Makes model bundles. The only place that may import torch, transformers or onnx."""

from __future__ import annotations


class ExportError(Exception):
    """The bundle cannot be made or checked; the message says what to do about it."""
