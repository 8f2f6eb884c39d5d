"""Prompts of zero-shot classification: a label in a template. Their length is known before they are made."""

from __future__ import annotations

from collections.abc import Sequence

PLACE = "{}"
DEFAULT_TEMPLATE = f"a photo of a {PLACE}"


def prompt_bytes(template: str, labels: Sequence[str]) -> list[int]:
    """UTF-8 bytes of each label's prompt: `template` with the label wherever {} stands in it."""
    places = template.count(PLACE)
    without = len(template.encode()) - places * len(PLACE)
    return [without + places * len(label.encode()) for label in labels]
