"""Points in a part of a backup: a Parquet file of ids, payloads and vectors, each vector bit for bit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from clipsearch.backup.manifest import BackupError
from clipsearch.client.inputs import Point
from clipsearch.client.types import StoredPoint


@dataclass(frozen=True, slots=True)
class Row:
    """A point. `payload` is JSON with sorted keys, vectors are the bytes of float32 [dimension], or None.

    So rows are equal where all is to the last bit.
    """

    id: str
    payload: str
    image_vector: bytes | None
    text_vector: bytes | None

    @property
    def size(self) -> int:
        """About the bytes that it takes in memory."""
        return sum(len(cell or "") for cell in (self.id, self.payload, self.image_vector, self.text_vector))

    @property
    def bare(self) -> bool:
        """Whether the point has no vector."""
        return self.image_vector is None and self.text_vector is None

    def to_point(self) -> Point:
        """The point to write."""
        image, text = (
            None if vector is None else np.frombuffer(vector, np.float32)
            for vector in (self.image_vector, self.text_vector)
        )
        return Point(self.id, image_vector=image, text_vector=text, payload=json.loads(self.payload))


def row_of(point: StoredPoint) -> Row:
    """A point that was read with its vectors."""
    payload = json.dumps(point.payload, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    image, text = (
        None if vector is None else vector.tobytes() for vector in (point.image_vector, point.text_vector)
    )
    return Row(point.id, payload, image, text)


def encode(rows: Sequence[Row], dimension: int) -> bytes:
    """The content of a part's file."""
    columns = [
        pa.array([row.id for row in rows], pa.string()),
        _column([row.image_vector for row in rows], dimension),
        _column([row.text_vector for row in rows], dimension),
        pa.array([row.payload for row in rows], pa.string()),
    ]
    table = pa.Table.from_arrays(columns, schema=_schema(dimension))
    to = pa.BufferOutputStream()
    # Vectors are noise to a compressor and to a dictionary.
    text = {"id": "zstd", "payload": "zstd"}
    noise = dict.fromkeys((f"{name}_vector.list.element" for name in ("image", "text")), "none")
    parquet.write_table(table, to, compression=text | noise, use_dictionary=False)
    return bytes(to.getvalue())


def decode(content: bytes, dimension: int, where: str) -> list[Row]:
    """The points of a part's file; `where` is its name. Raises BackupError if it is no such file."""
    try:
        table = parquet.read_table(pa.BufferReader(content))
    except pa.ArrowException as error:
        raise BackupError(f"{where} is damaged: {error}") from None
    if not table.schema.equals(_schema(dimension)):
        raise BackupError(f"{where} is no part of this backup: it has other columns")
    columns = (
        table["id"].to_pylist(),
        table["payload"].to_pylist(),
        _vectors(table["image_vector"], dimension),
        _vectors(table["text_vector"], dimension),
    )
    return [Row(*cells) for cells in zip(*columns, strict=True)]


def _schema(dimension: int) -> Any:
    vector = pa.list_(pa.float32(), dimension)
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("image_vector", vector),
            pa.field("text_vector", vector),
            pa.field("payload", pa.string(), nullable=False),
        ]
    )


def _column(vectors: Sequence[bytes | None], dimension: int) -> Any:
    missing = [vector is None for vector in vectors]
    nothing = bytes(dimension * np.dtype(np.float32).itemsize)
    numbers = np.frombuffer(b"".join(vector or nothing for vector in vectors), np.float32)
    return pa.FixedSizeListArray.from_arrays(pa.array(numbers), dimension, mask=pa.array(missing))


def _vectors(column: Any, dimension: int) -> list[bytes | None]:
    lists = column.combine_chunks()
    numbers = iter(lists.flatten().to_numpy().reshape(-1, dimension))  # of those that are there
    return [next(numbers).tobytes() if there else None for there in lists.is_valid().to_pylist()]
