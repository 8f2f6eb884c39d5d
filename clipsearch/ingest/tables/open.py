"""The table that a list file is, by its suffix."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from clipsearch.files import open_regular
from clipsearch.ingest.source import EmptySource, SourceError
from clipsearch.ingest.tables.csv_table import CsvTable
from clipsearch.ingest.tables.json_lines import JsonLines
from clipsearch.ingest.tables.parquet import ParquetTable
from clipsearch.ingest.tables.table import SUFFIXES, ColumnType, Table


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
        return CsvTable(path, types, verbatim)
    if types:
        raise SourceError(f"{path}: types are declared for CSV columns; this file has types of its own")
    if suffix in (".jsonl", ".ndjson"):
        return JsonLines(path)
    return ParquetTable(path)
