"""Reads a page of /metrics."""

from __future__ import annotations

import re


def sample(text: str, metric: str, /, **labels: str) -> float:
    """A metric's value, 0 where it is not there (yet)."""
    for entry in re.findall(rf"^{metric}(?:{{(.*)}})? (\S+)$", text, re.MULTILINE):
        if all(f'{key}="{value}"' in entry[0] for key, value in labels.items()):
            return float(entry[1])
    return 0.0
