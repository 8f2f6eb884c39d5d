"""Ready-made vectors as a source: a .npy file, with ids and payload beside it."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipsearch.client.convert import choice
from clipsearch.client.inputs import strings
from clipsearch.client.types import VectorName
from clipsearch.files import open_regular
from clipsearch.ingest.source import Item, SourceError, absolute, digest_of
from clipsearch.ingest.tables.open import open_table
from clipsearch.ingest.tables.table import SUFFIXES, Table, as_id, found, open_text, repeated, undecoded

_BLOCK_BYTES = 1024 * 1024
_TYPES = ("float16", "float32")


class VectorFile:
    """A .npy file of float32 or float16 [count, dimension], for one side of the points.

    `ids`: a text file with one id a line, or a list (.jsonl, .csv, .tsv, .parquet) of as many rows
    whose column `id` has them. Without it a vector gets the hash of its bytes. `payload` names the
    list's columns to keep, None = all others. A block of 1 MiB is in memory at a time.
    """

    def __init__(
        self,
        file: Path | str,
        *,
        side: VectorName = "image",
        ids: Path | str | None = None,
        id: str = "id",
        payload: Sequence[str] | None = None,
    ) -> None:
        self._file = absolute(file)
        self._side = choice("side", side, {"image": side, "text": side})
        self._ids = None if ids is None else absolute(ids)
        self._id = id
        self._payload = None if payload is None else strings(payload, "payload", "columns")
        self._array = self._map()
        self._table: Table | None = None
        self._prepared = False

    @property
    def dimension(self) -> int:
        """Numbers a vector."""
        return int(self._array.shape[1])

    def prepare(self) -> int:
        """Checks that there is one id a vector, and each only once."""
        total = len(self._array)
        if self._ids is not None and not self._prepared:
            if self._ids.suffix.lower() in SUFFIXES:
                self._table = open_table(self._ids, {}, frozenset({self._id}))
                self._check_columns(self._table)
            hashes = array("q", (hash(id) for _, id, _ in self._beside()))
            if len(hashes) != total:
                raise SourceError(f"{self._ids} has {len(hashes):,} ids, {self._file} {total:,} vectors")
            self._check_unique(repeated(hashes))
        self._prepared = True
        return total

    def items(self) -> Iterator[Item]:
        """A vector, an item."""
        self.prepare()
        beside: Iterator[tuple[str, str | None, dict[str, Any]]]
        beside = repeat(("", None, {})) if self._ids is None else iter(self._beside())
        is_image, size = self._side == "image", 4 * self.dimension
        for position, (vector, (_, id, payload)) in enumerate(zip(self._vectors(), beside, strict=False)):
            yield Item(
                position,
                f"{self._file.name}[{position}]",
                id=id,
                image_vector=vector if is_image else None,
                text_vector=None if is_image else vector,
                payload=payload,
                size=size,
            )

    def identity(self) -> dict[str, str]:
        """The content of the files and the side that they go to."""
        identity = {"vectors": self._file.name, "sha256": digest_of(self._file), "side": self._side}
        if self._ids is not None:
            columns = "*" if self._payload is None else ",".join(self._payload)
            identity |= {
                "ids": self._ids.name,
                "ids_sha256": digest_of(self._ids),
                "read_as": f"id={self._id} payload={columns}",
            }
        return identity

    def _map(self) -> np.memmap[Any, Any]:
        """The file, mapped: its header is checked, its numbers are not read."""
        try:
            open_regular(self._file).close()
            array = np.load(self._file, mmap_mode="r", allow_pickle=False)
        except OSError as error:
            raise SourceError(f"{self._file}: {error.strerror or error}") from None
        except (ValueError, EOFError) as error:
            raise SourceError(f"{self._file}: no .npy file ({error})") from None
        if not isinstance(array, np.memmap):
            raise SourceError(f"{self._file}: no .npy file of one array")
        if array.ndim != 2 or not all(array.shape):
            raise SourceError(f"{self._file}: its shape is {array.shape}, it must be [count, dimension]")
        if array.dtype.name not in _TYPES:
            raise SourceError(f"{self._file}: its numbers are {array.dtype}, not {' or '.join(_TYPES)}")
        if not array.flags.c_contiguous:
            raise SourceError(f"{self._file}: stored by columns; save np.ascontiguousarray(...) of it")
        return array

    def _vectors(self) -> Iterator[NDArray[np.float32]]:
        """Each as float32. Every block is mapped anew: pages of a mapping that lives stay in memory."""
        total, dimension = self._array.shape
        step = max(1, _BLOCK_BYTES // (4 * dimension))
        for first in range(0, total, step):
            shape = (min(step, total - first), dimension)
            offset = self._array.offset + first * dimension * self._array.itemsize
            mapped = np.memmap(self._file, self._array.dtype, "r", offset, shape)
            yield from np.array(mapped, dtype="<f4")

    def _beside(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Place, id and payload of each vector."""
        assert self._ids is not None
        if self._table is None:
            yield from ((place, id, {}) for place, id in _lines(self._ids))
            return
        for row in self._table.rows():
            if row.blank:
                continue
            if row.problem:
                raise SourceError(f"{self._ids}, {row.place}: {row.problem}")
            where = f"{self._ids}, {row.place}, column {self._id!r}"
            id, problem = as_id(row.cells.get(self._id))
            if id is None:
                raise SourceError(f"{where} {problem or f'is missing; {found(tuple(row.cells))}'}")
            yield row.place, id, {name: cell for name, cell in row.cells.items() if self._keeps(name)}

    def _check_unique(self, doubtful: frozenset[int]) -> None:
        """Two rows of one id would overwrite each other in the order of their luck."""
        met: dict[str, str] = {}
        for place, id, _ in self._beside() if doubtful else ():
            if hash(id) in doubtful and met.setdefault(id, place) != place:
                raise SourceError(f"{self._ids}: id {id!r} stands in {met[id]} and in {place}")

    def _keeps(self, column: str) -> bool:
        return column in self._payload if self._payload is not None else column != self._id

    def _check_columns(self, table: Table) -> None:
        for name in (self._id, *(self._payload or ())):
            if table.columns and name not in table.columns:
                raise SourceError(f"{self._ids}: no column {name!r}; {found(table.columns)}")


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Place and id, one a line."""
    try:
        with open_text(path) as file:
            for number, line in enumerate(file, start=1):
                id = line.rstrip("\r\n")
                if not id:
                    raise SourceError(f"{path}, line {number}: empty; every line is an id")
                if wrong := undecoded(id):
                    raise SourceError(f"{path}, line {number}: {wrong}")
                yield f"line {number}", id
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from None
