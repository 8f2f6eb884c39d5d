"""JSON lines as a table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clipsearch.ingest.source import SourceError
from clipsearch.ingest.tables.table import Row, Table, open_text, undecoded


class JsonLines(Table):
    """One JSON object a line; empty lines are skipped. NaN, which is no JSON, counts as null."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def rows(self) -> Iterator[Row]:
        """The objects."""
        first = True
        with open_text(self.path) as file:
            for number, line in enumerate(file, start=1):
                text = line.strip()
                if not text:
                    continue
                if first and text.startswith("["):
                    raise SourceError(
                        f"{self.path}: a JSON array; JSON lines are one object a line: "
                        f"jq -c '.[]' {self.path.name} writes them"
                    )
                first = False
                yield _parsed(f"line {number}", text)


def _parsed(place: str, text: str) -> Row:
    if wrong := undecoded(text):
        return Row(place, problem=f"has {wrong}")
    try:
        value = json.loads(
            text,
            parse_constant=lambda name: None if name == "NaN" else float(name),
            object_pairs_hook=_object,
        )
    except (ValueError, RecursionError) as error:
        return Row(place, problem=f"no JSON ({error})")
    if not isinstance(value, dict):
        return Row(place, problem=f"a JSON {type(value).__name__}, not an object")
    return Row(place, value)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"two fields are called {next(name for name in names if names.count(name) > 1)!r}")
    return made
