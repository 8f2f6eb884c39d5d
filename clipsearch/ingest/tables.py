"""Rows of a list file: JSON lines, CSV or Parquet, read a piece at a time."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, Protocol

from clipsearch.ingest.source import SourceError

ColumnType = Literal["string", "integer", "float", "bool"]
SUFFIXES = frozenset({".csv", ".jsonl", ".ndjson", ".parquet", ".tsv"})

_EXACT_INTEGER = 2**53  # a payload holds float64; larger whole numbers stay strings


@dataclass(frozen=True, slots=True)
class Row:
    """A row: where it stands, for people (`line 3`, `row 3`), and its cells by column."""

    place: str
    cells: Mapping[str, Any]


class Table(Protocol):
    """A list file. `columns` are those it declares, empty where only its rows can tell."""

    path: Path
    columns: tuple[str, ...]

    def rows(self) -> Iterator[Row]:
        """All rows in order. Raises SourceError for one that cannot be read."""


def open_table(path: Path, types: Mapping[str, ColumnType], verbatim: frozenset[str]) -> Table:
    """The table that the file's suffix says. Raises SourceError.

    `types` are those of CSV columns, where the file has none; the rest is inferred from all cells
    of a column, but those that are `verbatim` stay strings.
    """
    if not path.is_file():
        raise SourceError(f"{path}: no such file")
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        return CsvTable(path, types, verbatim)
    if types:
        raise SourceError(f"{path}: types are declared for CSV columns; this file has types of its own")
    if suffix in (".jsonl", ".ndjson"):
        return JsonLines(path)
    if suffix == ".parquet":
        from clipsearch.ingest.parquet import ParquetTable

        return ParquetTable(path)
    raise SourceError(f"{path}: not a list; known are {', '.join(sorted(SUFFIXES))}")


class JsonLines:
    """One JSON object a line; empty lines are skipped."""

    columns: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        self.path = path

    def rows(self) -> Iterator[Row]:
        """The objects."""
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                text = line.strip(b" \t\r\n\xef\xbb\xbf" if number == 1 else None)
                if text:
                    yield Row(f"line {number}", self._parsed(text, number))

    def _parsed(self, text: bytes, number: int) -> dict[str, Any]:
        try:
            value = json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise SourceError(f"{self.path}, line {number}: no JSON ({error})") from None
        if not isinstance(value, dict):
            raise SourceError(f"{self.path}, line {number}: a JSON {type(value).__name__}, not an object")
        return value


class CsvTable:
    """Comma-separated values, tabs in a .tsv, with a header. An empty cell counts as not there."""

    def __init__(self, path: Path, types: Mapping[str, ColumnType], verbatim: frozenset[str]) -> None:
        self.path = path
        self.columns = self._header()
        unknown = [name for name in types if name not in self.columns]
        if unknown:
            raise SourceError(f"{path}: no column {unknown[0]!r} to have a type; {found(self.columns)}")
        self._declared: dict[str, ColumnType] = {**types}
        for name in verbatim & set(self.columns):
            self._declared[name] = "string"
        self._types = self._infer()

    def rows(self) -> Iterator[Row]:
        """The rows, their cells typed."""
        for place, cells in self._raw():
            yield Row(
                place,
                {
                    name: self._typed(place, name, cell)
                    for name, cell in zip(self.columns, cells, strict=True)
                    if cell
                },
            )

    def _typed(self, place: str, name: str, cell: str) -> Any:
        type_ = self._types[name]
        value = _READERS[type_](cell)
        if value is None:
            raise SourceError(f"{self.path}, {place}, column {name!r}: {cell!r} is no {type_}")
        return value

    def _infer(self) -> dict[str, ColumnType]:
        """The narrowest type that every cell of a column has."""
        left: dict[int, list[ColumnType]] = {
            i: ["integer", "float", "bool"]
            for i, name in enumerate(self.columns)
            if name not in self._declared
        }
        seen: set[int] = set()
        for _, cells in self._raw():
            for i, candidates in left.items():
                if cells[i]:
                    seen.add(i)
                    candidates[:] = [type_ for type_ in candidates if _READERS[type_](cells[i]) is not None]
        inferred: dict[str, ColumnType] = {
            self.columns[i]: candidates[0] if candidates and i in seen else "string"
            for i, candidates in left.items()
        }
        return {**inferred, **self._declared}

    def _header(self) -> tuple[str, ...]:
        with self._open() as file:
            try:
                header = next(self._reader(file), None)
            except (UnicodeDecodeError, csv.Error) as error:
                raise SourceError(f"{self.path}, line 1: {error}") from None
        if not header:
            raise SourceError(f"{self.path}: empty; the first line must name the columns")
        repeated = [name for name in header if header.count(name) > 1]
        if repeated:
            raise SourceError(f"{self.path}, line 1: two columns are called {repeated[0]!r}")
        return tuple(header)

    def _raw(self) -> Iterator[tuple[str, list[str]]]:
        with self._open() as file:
            reader = self._reader(file)
            try:
                next(reader)
                for cells in reader:
                    if not cells:
                        continue
                    place = f"line {reader.line_num}"
                    if len(cells) != len(self.columns):
                        raise SourceError(
                            f"{self.path}, {place}: {len(cells)} cells, there are {len(self.columns)} columns"
                        )
                    yield place, cells
            except (UnicodeDecodeError, csv.Error) as error:
                raise SourceError(f"{self.path}, after line {reader.line_num}: {error}") from None

    def _open(self) -> IO[str]:
        return self.path.open(encoding="utf-8-sig", newline="")

    def _reader(self, file: IO[str]) -> Any:
        return csv.reader(file, delimiter="\t" if self.path.suffix.lower() == ".tsv" else ",", strict=True)


def found(columns: tuple[str, ...]) -> str:
    """The columns that there are, for a message about one that is not."""
    return f"columns are {', '.join(columns)}" if columns else "it has no columns"


def _integer(cell: str) -> int | None:
    digits = cell.removeprefix("-")
    return int(cell) if digits == "0" or (digits[:1] != "0" and _is_exact(digits)) else None


def _float(cell: str) -> float | None:
    digits = cell.lstrip("+-")
    if not cell[-1:].isdigit() or (digits[0] == "0" and digits[1:2].isdigit()):
        return None  # nan, inf and names; 0042 is a code
    if digits.isdigit() and not _is_exact(digits):
        return None
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _is_exact(digits: str) -> bool:
    """Whether it is a whole number that a payload holds without rounding it."""
    return digits.isascii() and digits.isdigit() and len(digits) <= 16 and int(digits) <= _EXACT_INTEGER


def _bool(cell: str) -> bool | None:
    return {"true": True, "false": False}.get(cell.lower())


_READERS: dict[str, Callable[[str], Any]] = {
    "string": str,
    "integer": _integer,
    "float": _float,
    "bool": _bool,
}


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")
