"""A list of pictures and texts as a source: JSON lines, CSV or Parquet, a row an item."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from clipsearch.ingest.ids import UniqueIds, id_text
from clipsearch.ingest.points import CONTENT_HASH
from clipsearch.ingest.source import Item, SourceError, digest_of, file_size, path_text
from clipsearch.ingest.tables import ColumnType, Row, Table, found, open_table

_RESERVED = "_clipsearch"


class ItemList:
    """A .jsonl, .csv, .tsv or .parquet file whose rows name a picture, hold a text, or both.

    `id`, `path` and `text` name columns; left out, those of these names are used if there are any.
    Relative paths count from the list's folder. Without an id column a row gets the hash of its
    content. `payload` names the columns to keep, None = all others; the picture's absolute `path`
    and the `text` are always kept, and with given ids `content_hash`, by which a later run tells
    rows that changed. `types` declares the types of CSV columns; the rest is inferred.
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
    ) -> None:
        self._file = Path(file).absolute()
        self._named = {"id": id, "path": path, "text": text}
        self._payload = payload
        self._types = dict(types or {})
        self._roles = {role: name or role for role, name in self._named.items()}
        self._table: Table | None = None
        self._total = 0

    def prepare(self) -> int:
        """Reads every row once: counts them, and finds missing columns and ids that repeat."""
        if self._table is None:
            table = open_table(self._file, self._types, frozenset(self._roles.values()))
            columns, total = self._read_through(table)
            if not total:
                raise SourceError(f"{self._file}: no rows")
            self._check_columns(columns)
            self._table, self._total = table, total
        return self._total

    def items(self) -> Iterator[Item]:
        """A row, an item."""
        self.prepare()
        assert self._table is not None
        for position, row in enumerate(self._table.rows()):
            yield self._item(position, row)

    def identity(self) -> dict[str, str]:
        """The file's content and how it is read."""
        read_as = [
            *(f"{role}={name}" for role, name in self._roles.items()),
            f"payload={'*' if self._payload is None else ','.join(self._payload)}",
            *(f"{name}:{type_}" for name, type_ in sorted(self._types.items())),
        ]
        return {"list": self._file.name, "sha256": digest_of(self._file), "read_as": " ".join(read_as)}

    def _read_through(self, table: Table) -> tuple[tuple[str, ...], int]:
        columns = dict.fromkeys(table.columns)
        ids, total = UniqueIds(self._file), 0
        # A file that declares its columns says at once whether there are ids; JSON lines only at the end.
        first_without_id = ""
        for row in table.rows():
            total += 1
            columns.update(dict.fromkeys(row.cells))
            self._check_content(row)
            given = row.cells.get(self._roles["id"])
            if given is not None:
                ids.add(id_text(given, f"{self._file}, {row.place}, column {self._roles['id']!r}"), row.place)
            else:
                first_without_id = first_without_id or row.place
        if first_without_id and (len(ids) or self._named["id"] in columns):
            raise SourceError(f"{self._file}, {first_without_id}: column {self._roles['id']!r} is empty")
        ids.check(lambda: ((str(row.cells[self._roles["id"]]), row.place) for row in table.rows()))
        return tuple(columns), total

    def _check_content(self, row: Row) -> None:
        for role in ("path", "text"):
            cell = row.cells.get(self._roles[role])
            if not isinstance(cell, str | None):
                column = self._roles[role]
                raise SourceError(f"{self._file}, {row.place}, column {column!r}: {cell!r} is no string")

    def _check_columns(self, columns: tuple[str, ...]) -> None:
        for name in (*(name for name in self._named.values() if name), *(self._payload or ())):
            if name not in columns:
                raise SourceError(f"{self._file}: no column {name!r}; {found(columns)}")
        if not {self._roles["path"], self._roles["text"]} & set(columns):
            raise SourceError(f"{self._file}: no column of paths or texts is named; {found(columns)}")
        for name in columns:
            if self._keeps(name) and (name.startswith(_RESERVED) or name == CONTENT_HASH):
                raise SourceError(
                    f"{self._file}: column {name!r} has a reserved name; rename or leave it out"
                )

    def _keeps(self, column: str) -> bool:
        if self._payload is not None:
            return column in self._payload
        return column not in self._roles.values()

    def _item(self, position: int, row: Row) -> Item:
        given = {role: row.cells.get(name) for role, name in self._roles.items()}
        path = self._file.parent / given["path"] if given["path"] else None
        text = given["text"] or None
        kept: dict[str, Any] = {name: cell for name, cell in row.cells.items() if self._keeps(name)}
        if path is not None:
            kept["path"] = path_text(path)
        if text is not None:
            kept["text"] = text
        return Item(
            position,
            f"{self._file.name}, {row.place}",
            id=None if given["id"] is None else str(given["id"]),
            path=path,
            text=text,
            payload=kept,
            size=(file_size(path) if path else 0) + len(text or ""),
        )
