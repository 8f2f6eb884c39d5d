"""Parquet as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from clipsearch.ingest.source import SourceError
from clipsearch.ingest.tables.table import Row, Table

_ROWS_AT_ONCE = 1024


class _Unreadable(str):
    """Why Python cannot hold a cell."""


class ParquetTable(Table):
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
