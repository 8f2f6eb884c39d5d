"""Reads a file of queries and their right answers: a .jsonl, .csv, .tsv or .parquet file.

A row has `text` or `image` (a path, from the file's folder), and `relevant`: an answer, or in JSON a list
of them, or an object of answers and their grades. An answer is a point's id, its image's path or its file's
name. Without grades each is 1, or what the column `grade` says. Rows that ask the same are one query.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clipsearch.ingest import SourceError
from clipsearch.ingest.source import absolute
from clipsearch.ingest.tables.open import open_table
from clipsearch.ingest.tables.table import Row, found

LEAST = 2
"""Queries: one has no spread, and no interval."""
_COLUMNS = ("text", "image", "relevant")
_MOST_GRADE = 1000


@dataclass(slots=True)
class Asked:
    """A query as its file has it: `answers` are ids, paths or names and their grades, by where they stand."""

    place: str
    text: str | None
    image: Path | None
    answers: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Query:
    """A text or an image (its path), and the ids of the right points with their grades, 1 and up.

    `itself`: the id of the point that the image is; it is no answer. "" = none.
    """

    text: str | None
    image: Path | None
    relevant: Mapping[str, int]
    itself: str = ""


def read_queries(path: Path) -> list[Asked]:
    """The queries of a file. Raises SourceError, which names the file, the line and the value."""
    path = absolute(path)
    table = open_table(path, {}, frozenset(_COLUMNS))
    columns = dict.fromkeys(table.columns)
    asked: dict[tuple[str | None, Path | None], Asked] = {}
    for row in table.rows():
        if row.blank:
            continue
        columns.update(dict.fromkeys(row.cells))
        try:
            one = _asked(path, row)
        except _Wrong as wrong:
            if "relevant" not in columns or not {"text", "image"} & columns.keys():
                needed = "a query has text or image, and relevant"
                raise SourceError(f"{path}: {needed}; {found(tuple(columns))}") from None
            raise SourceError(f"{path}, {row.place}: {wrong}") from None
        asked.setdefault((one.text, one.image), one).answers.update(one.answers)
    if len(asked) < LEAST:
        raise SourceError(f"{path}: {len(asked)} queries, at least {LEAST} are needed")
    return list(asked.values())


class _Wrong(ValueError):
    """What is wrong with a row."""


def _asked(path: Path, row: Row) -> Asked:
    if row.problem:
        raise _Wrong(row.problem)
    text, image = (_string(row.cells.get(name), name) for name in ("text", "image"))
    if (text is None) == (image is None):
        raise _Wrong(f"has {'neither text nor image' if text is None else 'text and image'}, one is needed")
    file = None if image is None else absolute(path.parent / image)
    if file is not None and not file.is_file():
        raise _Wrong(f"image: {image!r} is no file ({file})")
    grade = _grade(row.cells.get("grade", 1), "grade")
    answers = _answers(row.cells.get("relevant"), grade)
    return Asked(row.place, text, file, answers)


def _string(value: Any, name: str) -> str | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if not isinstance(value, str):
        raise _Wrong(f"{name}: {value!r} is no string")
    return value


def _answers(value: Any, grade: int) -> dict[str, int]:
    if isinstance(value, Mapping):
        graded = {name: _grade(given, f"relevant.{name}") for name, given in value.items()}
    else:
        graded = dict.fromkeys(
            [_answer(one) for one in (value if isinstance(value, list) else [value])], grade
        )
    if not any(graded.values()):
        raise _Wrong("relevant: names no right answer")
    return graded


def _answer(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    name = _string(value, "relevant")
    if name is None:
        raise _Wrong("relevant: is empty")
    return name


def _grade(value: Any, name: str) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MOST_GRADE:
        raise _Wrong(f"{name}: {value!r}; a grade is a whole number, 0 (wrong) to {_MOST_GRADE}")
    return value
