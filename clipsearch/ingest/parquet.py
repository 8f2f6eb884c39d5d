"""Rows of a Parquet file, through pyarrow (`pip install 'clipsearch[parquet]'`)."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from clipsearch.ingest.source import SourceError
from clipsearch.ingest.tables import Row

_ROWS_AT_ONCE = 1024


class ParquetTable:
    """A Parquet file; a row group at a time is in memory. Dates and times become ISO 8601 strings."""

    def __init__(self, path: Path) -> None:
        try:
            import pyarrow
            from pyarrow import parquet
        except ModuleNotFoundError:
            raise SourceError(
                f"{path}: Parquet needs pyarrow; install it with: pip install 'clipsearch[parquet]'"
            ) from None
        self.path = path
        self._arrow_error = pyarrow.ArrowException
        try:
            self._file = parquet.ParquetFile(path)
        except (self._arrow_error, OSError) as error:
            raise SourceError(f"{path}: no Parquet file ({error})") from None
        self.columns = tuple(self._file.schema_arrow.names)

    def rows(self) -> Iterator[Row]:
        """The rows."""
        number = 0
        try:
            for batch in self._file.iter_batches(batch_size=_ROWS_AT_ONCE):
                for cells in batch.to_pylist():
                    number += 1
                    yield Row(f"row {number}", {name: _plain(cell) for name, cell in cells.items()})
        except (self._arrow_error, OSError) as error:
            raise SourceError(f"{self.path}, after row {number}: {error}") from None


def _plain(cell: Any) -> Any:
    """The cell as JSON has it; what JSON has not is left for the check of payloads to refuse."""
    if isinstance(cell, datetime.datetime | datetime.date | datetime.time):
        return cell.isoformat()
    if isinstance(cell, Decimal):
        return float(cell)
    if isinstance(cell, list):
        return [_plain(inner) for inner in cell]
    if isinstance(cell, dict):
        return {name: _plain(inner) for name, inner in cell.items()}
    return cell
