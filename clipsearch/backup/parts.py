"""Points in a part of a backup: a Parquet file of ids, payloads and vectors, each vector bit for bit."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from clipsearch.backup.manifest import BackupError
from clipsearch.client.inputs import Point
from clipsearch.client.types import StoredPoint, Vector

_BYTES_A_NUMBER = 4


@dataclass(frozen=True, slots=True)
class Row:
    """A point. `payload` is JSON with sorted keys, so that equal payloads are equal strings.

    Vectors are float32 [dimension], or None.
    """

    id: str
    payload: str
    image_vector: Vector | None
    text_vector: Vector | None

    @property
    def bytes(self) -> int:
        """About what it takes in memory."""
        vectors = (self.image_vector, self.text_vector)
        return len(self.id) + len(self.payload) + sum(v.nbytes for v in vectors if v is not None)

    @property
    def bare(self) -> bool:
        """Whether the point has no vector."""
        return self.image_vector is None and self.text_vector is None

    def to_point(self) -> Point:
        """The point to write."""
        return Point(
            self.id,
            image_vector=self.image_vector,
            text_vector=self.text_vector,
            payload=json.loads(self.payload),
        )

    def equals(self, other: Row) -> bool:
        """Whether the two are the same to the last bit."""
        return self._bits() == other._bits()

    def _bits(self) -> tuple[object, ...]:
        vectors = (self.image_vector, self.text_vector)
        return self.id, self.payload, *(None if vector is None else vector.tobytes() for vector in vectors)


def row_of(point: StoredPoint) -> Row:
    """A point that was read with its vectors."""
    payload = json.dumps(point.payload, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return Row(point.id, payload, point.image_vector, point.text_vector)


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


def _column(vectors: Sequence[Vector | None], dimension: int) -> Any:
    missing = np.array([vector is None for vector in vectors], bool)
    numbers = np.zeros((len(vectors), dimension), np.float32)
    for i, vector in enumerate(vectors):
        if vector is not None:
            numbers[i] = vector
    return pa.FixedSizeListArray.from_arrays(pa.array(numbers.reshape(-1)), dimension, mask=pa.array(missing))


def _vectors(column: Any, dimension: int) -> Iterable[Vector | None]:
    lists = column.combine_chunks()
    there = lists.is_valid().to_numpy(zero_copy_only=False)
    numbers = lists.flatten().to_numpy().reshape(-1, dimension)  # of those that are there
    found = iter(numbers)
    return [next(found) if is_there else None for is_there in there]
