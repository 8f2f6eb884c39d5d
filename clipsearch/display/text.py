"""Words for people: counts with their nouns, and texts cut to a length."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """`1 hit`, `2,000 hits`."""
    return f"{count} {noun}" if count == 1 else f"{count:,} {noun}s"


def cut(text: str, most: int = 160) -> str:
    """The text in one line of at most `most` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"
