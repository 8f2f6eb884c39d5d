"""Rows of JSON lines, CSV or Parquet, read a piece at a time. A bad row is a row with a problem."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal, Protocol

from clipsearch.client.files import open_regular
from clipsearch.ingest.source import EmptySource, SourceError

ColumnType = Literal["string", "integer", "float", "bool"]
SUFFIXES = frozenset({".csv", ".jsonl", ".ndjson", ".parquet", ".tsv"})

_ROWS_AT_ONCE = 1024  # of a Parquet file
_MARKED = {  # UTF-32 first: its mark begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A row: where it stands, for people (`line 3`, `row 3`), and its cells by column.

    `problem` says why it cannot be read. A `blank` row is none, but counts in the positions of rows.
    """

    place: str
    cells: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""
    blank: bool = False


class Table(Protocol):
    """A list file. `columns` are those it declares, empty where only its rows can tell."""

    path: Path
    columns: tuple[str, ...]

    def rows(self) -> Iterator[Row]:
        """All rows in order. Raises SourceError where the file as such cannot be read on."""

    def remarks(self) -> list[str]:
        """What its reader should know of how it was read, a sentence each."""


def open_table(path: Path, types: Mapping[str, ColumnType], verbatim: frozenset[str]) -> Table:
    """The table that the file's suffix says. Raises SourceError.

    `types` are those of CSV columns, where the file has none; the rest is inferred from all cells
    of a column, but those that are `verbatim` stay strings.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise SourceError(f"{path}: not a list; known are {', '.join(sorted(SUFFIXES))}")
    if not path.exists():
        raise EmptySource(f"{path}: no such file")
    try:
        open_regular(path).close()
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from None
    if suffix in (".csv", ".tsv"):
        from clipsearch.ingest.csv_table import CsvTable

        return CsvTable(path, types, verbatim)
    if types:
        raise SourceError(f"{path}: types are declared for CSV columns; this file has types of its own")
    if suffix in (".jsonl", ".ndjson"):
        return JsonLines(path)
    return ParquetTable(path)


def open_text(path: Path) -> IO[str]:
    """A text file: UTF-8, or UTF-16 or -32 with a byte order mark. Raises SourceError for others.

    Lines are as they stand. Bytes that are no UTF-8 become surrogates: see `is_utf8`.
    """
    with open_regular(path) as file:
        head = file.read(1024)
    encoding = next((name for mark, name in _MARKED.items() if head.startswith(mark)), "")
    if encoding:
        return path.open(encoding=encoding, errors="replace", newline="")
    if b"\0" in head:
        raise SourceError(f"{path}: no text in UTF-8 (it has zero bytes); save it as UTF-8")
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")


def is_utf8(text: str) -> bool:
    """False for text from `open_text` that held bytes which are no UTF-8."""
    return text.isascii() or not any("\udc80" <= letter <= "\udcff" for letter in text)


def found(columns: tuple[str, ...]) -> str:
    """The columns that there are, for a message about one that is not."""
    return f"columns are {', '.join(columns)}" if columns else "it has no columns"


class JsonLines:
    """One JSON object a line; empty lines are skipped. NaN, which is no JSON, counts as null."""

    columns: tuple[str, ...] = ()

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

    def remarks(self) -> list[str]:
        """None."""
        return []


class _Unreadable(str):
    """Why Python cannot hold a cell."""


class ParquetTable:
    """A Parquet file, through pyarrow (`pip install 'clipsearch[parquet]'`).

    A row group at a time is in memory. A cell that Python cannot hold, such as a date after the year
    9999, is its row's problem. Times are cut to microseconds.
    """

    def __init__(self, path: Path) -> None:
        try:
            import pyarrow
            from pyarrow import parquet
        except ModuleNotFoundError:
            raise SourceError(
                f"{path}: Parquet needs pyarrow; install it with: pip install 'clipsearch[parquet]'"
            ) from None
        self.path = path
        self._arrow = pyarrow
        try:
            self._file = parquet.ParquetFile(path)
        except (pyarrow.ArrowException, OSError) as error:
            raise SourceError(f"{path}: no Parquet file ({error})") from None
        self.columns = tuple(self._file.schema_arrow.names)
        repeated = [name for name in self.columns if self.columns.count(name) > 1]
        if repeated:
            raise SourceError(f"{path}: two columns are called {repeated[0]!r}")

    def rows(self) -> Iterator[Row]:
        """The rows."""
        number = 0
        try:
            for batch in self._file.iter_batches(batch_size=_ROWS_AT_ONCE):
                columns = [self._cells(column) for column in batch.columns]
                for cells in zip(*columns, strict=True):
                    number += 1
                    yield self._row(f"row {number}", dict(zip(self.columns, cells, strict=True)))
        except (self._arrow.ArrowException, OSError) as error:
            raise SourceError(f"{self.path}, after row {number}: {error}") from None

    def remarks(self) -> list[str]:
        """None."""
        return []

    def _row(self, place: str, cells: dict[str, Any]) -> Row:
        bad = [(name, cell) for name, cell in cells.items() if isinstance(cell, _Unreadable)]
        if not bad:
            return Row(place, cells)
        good = {name: cell for name, cell in cells.items() if not isinstance(cell, _Unreadable)}
        return Row(place, good, f"column {bad[0][0]!r}: {bad[0][1]}")

    def _cells(self, column: Any) -> list[Any]:
        types = self._arrow.types
        if types.is_timestamp(column.type) and column.type.unit == "ns":
            column = column.cast(self._arrow.timestamp("us", column.type.tz), safe=False)
        elif types.is_time64(column.type) and column.type.unit == "ns":
            column = column.cast(self._arrow.time64("us"), safe=False)
        elif types.is_duration(column.type) and column.type.unit == "ns":
            column = column.cast(self._arrow.duration("us"), safe=False)
        try:
            cells: list[Any] = column.to_pylist()
        except (ValueError, OverflowError, TypeError, self._arrow.ArrowException):
            return [self._cell(scalar.as_py) for scalar in column]
        return cells

    def _cell(self, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except (ValueError, OverflowError, TypeError, self._arrow.ArrowException) as error:
            return _Unreadable(f"cannot be read ({error})")


def _parsed(place: str, text: str) -> Row:
    if not is_utf8(text):
        return Row(place, problem="has bytes that are no UTF-8")
    try:
        value = json.loads(text, parse_constant=_constant, object_pairs_hook=_object)
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


def _constant(name: str) -> float | None:
    return None if name == "NaN" else float(name)
