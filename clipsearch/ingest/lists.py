"""A list of images and texts as a source: JSON lines, CSV or Parquet, a row an item."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from clipsearch.client.inputs import no_file, string, strings
from clipsearch.client.types import CONTENT_HASH, INDEXED_FROM
from clipsearch.ingest.source import (
    EmptySource,
    Item,
    SourceError,
    absolute,
    digest_of,
    file_size,
    path_text,
)
from clipsearch.ingest.tables.open import open_table
from clipsearch.ingest.tables.table import ColumnType, Row, Table, as_id, column_types, found, repeated

_RESERVED = "_clipsearch"
_CELL_BYTES = 16  # about what a cell that is no string takes to send


class ItemList:
    """A .jsonl, .csv, .tsv or .parquet file whose rows name an image, hold a text, or both.

    `id`, `path` and `text` name columns; left out, those of these names are used if there are any.
    Relative paths count from the list's folder. Without an id column a row is known by all that it
    holds: equal rows are one point. `payload` names the columns to keep, None = all others; the
    image's absolute `path` and the `text` are always kept, and another column that has one of
    these names gets a 2 behind it. `types` declares the types of CSV columns; the rest is inferred.

    A row that cannot be loaded fails alone. With `allow_empty` a file that is gone, or has no rows,
    is a list of none.
    """

    dimension = None

    def __init__(
        self,
        file: Path | str,
        *,
        id: str | None = None,
        path: str | None = None,
        text: str | None = None,
        payload: Sequence[str] | None = None,
        types: Mapping[str, ColumnType] | None = None,
        allow_empty: bool = False,
    ) -> None:
        self._file = absolute(file)
        self._named = {"id": id, "path": path, "text": text}
        for role, name in self._named.items():
            if name is not None:
                string(name, role)
        self._payload = None if payload is None else strings(payload, "payload", "columns", ordered=False)
        self._types = dict(column_types(types or {}))
        self._allow_empty = allow_empty
        self._roles = {role: role if name is None else name for role, name in self._named.items()}
        self._renamed: dict[str, str] = {}
        self._table: Table | None = None
        self._total: int | None = None
        self._has_ids = False
        self._doubtful: frozenset[int] = frozenset()

    @property
    def file(self) -> str:
        """The list's path, absolute, as points remember it."""
        return path_text(self._file)

    def prepare(self) -> int:
        """Reads every row once: counts them, and finds missing columns and ids that repeat."""
        if self._total is None:
            try:
                table = open_table(self._file, self._types, frozenset(self._roles.values()))
                total = self._read_through(table)
                if not total:
                    raise EmptySource(f"{self._file}: no rows")
                self._table, self._total = table, total
            except EmptySource:
                if not self._allow_empty:
                    raise
                self._total = 0
        return self._total

    def items(self) -> Iterator[Item]:
        """A row, an item."""
        self.prepare()
        if self._table is None:
            return
        met: dict[str, tuple[str, bytes]] = {}  # the place and content of doubtful rows
        for position, row in enumerate(self._table.rows()):
            if not row.blank:
                yield self._item(position, row, met)

    def identity(self) -> dict[str, str]:
        """The file's content and how it is read."""
        read_as = [
            *(f"{role}={name}" for role, name in self._roles.items()),
            f"payload={'*' if self._payload is None else ','.join(self._payload)}",
            *(f"{name}:{type_}" for name, type_ in sorted(self._types.items())),
        ]
        return {"list": self._file.name, "sha256": digest_of(self._file), "read_as": " ".join(read_as)}

    def remarks(self) -> list[str]:
        """What was read otherwise than one might think, a sentence each."""
        renamed = [
            f"column {name!r} is kept as {other!r}: {name!r} holds the {name}s "
            f"of column {self._roles[name]!r}"
            for name, other in self._renamed.items()
        ]
        return [*renamed, *(self._table.remarks if self._table else ())]

    def _read_through(self, table: Table) -> int:
        columns = dict.fromkeys(table.columns)
        hashes, total = array("q"), 0
        for row in table.rows():
            total += not row.blank
            columns.update(dict.fromkeys(row.cells))
            id, problem = as_id(row.cells.get(self._roles["id"]))
            if not row.blank and not row.problem:
                hashes.append(hash(id or self._content(row)))
            # A column whose every value is bad is a column of ids all the same.
            self._has_ids = self._has_ids or bool(id or problem)
        self._has_ids = self._has_ids or self._named["id"] is not None
        if total:
            self._check_columns(tuple(columns))
        self._doubtful = repeated(hashes)
        return total

    def _check_columns(self, columns: tuple[str, ...]) -> None:
        if not columns:
            return  # no row can be read, and each says why
        for name in (*(name for name in self._named.values() if name is not None), *(self._payload or ())):
            if name not in columns:
                raise SourceError(f"{self._file}: no column {name!r}; {found(columns)}")
        if not {self._roles["path"], self._roles["text"]} & set(columns):
            raise SourceError(
                f"{self._file}: no column of paths or texts is named; {found(columns)} "
                "(--path and --text name them)"
            )
        for name in columns:
            if self._keeps(name) and (name.startswith(_RESERVED) or name in (CONTENT_HASH, INDEXED_FROM)):
                raise SourceError(
                    f"{self._file}: column {name!r} has a reserved name; rename or leave it out"
                )
        for role in ("path", "text"):
            if self._roles[role] != role and {role, self._roles[role]} <= set(columns) and self._keeps(role):
                self._renamed[role] = next(
                    name for number in count(2) if (name := f"{role}_{number}") not in columns
                )

    def _keeps(self, column: str) -> bool:
        if self._payload is not None:
            return column in self._payload
        return column not in self._roles.values()

    def _content(self, row: Row) -> str:
        """All that is kept of a row but its id: equal rows have equal ones."""
        kept = [(name, cell) for name, cell in row.cells.items() if self._keeps(name)]
        return repr(
            (
                row.cells.get(self._roles["path"]),
                row.cells.get(self._roles["text"]),
                sorted(kept, key=lambda one: one[0]),
            )
        )

    def _item(self, position: int, row: Row, met: dict[str, tuple[str, bytes]]) -> Item:
        id, problem = as_id(row.cells.get(self._roles["id"])) if self._has_ids else (None, "")
        if self._has_ids and not id:
            problem = f"column {self._roles['id']!r} {problem or 'is empty'}"
        repeated = False
        if not problem and not row.problem and hash(key := id or self._content(row)) in self._doubtful:
            content_bytes = self._content(row).encode("utf-8", "surrogatepass")
            digest = hashlib.sha256(content_bytes).digest()[:16]
            place, first = met.setdefault(id or digest.hex(), (row.place, digest))
            repeated = place != row.place and digest == first
            if place != row.place and not repeated:
                problem = f"id {key!r} stands in {place} already, with other content"
        content: dict[str, str | None] = {}
        for role in ("path", "text"):
            cell = row.cells.get(self._roles[role])
            content[role] = cell if isinstance(cell, str) and cell.strip() else None
            if not isinstance(cell, str | None):
                problem = problem or f"column {self._roles[role]!r}: {cell!r} is no string"
        problem = problem or no_file(content["path"] or "")
        path = self._file.parent / content["path"] if content["path"] else None
        kept: dict[str, Any] = {
            self._renamed.get(name, name): cell for name, cell in row.cells.items() if self._keeps(name)
        }
        if path is not None:
            kept["path"] = path_text(path)
        if content["text"] is not None:
            kept["text"] = content["text"]
        sent = sum(len(cell) if isinstance(cell, str) else _CELL_BYTES for cell in kept.values())
        return Item(
            position,
            f"{path_text(self._file.name)}, {row.place}",
            id=id,
            path=path,
            text=content["text"],
            payload=kept,
            size=(file_size(path) if path else 0) + len(content["text"] or "") + sent,
            origin=self.file,
            problem=row.problem or problem,
            repeated=repeated,
        )
