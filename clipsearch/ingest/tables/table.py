"""What a list file is to its readers: rows of cells by column, and text in an encoding that is told."""

from __future__ import annotations

import codecs
import re
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, Literal, get_args

import numpy as np

from clipsearch.client.convert import choice
from clipsearch.client.errors import ArgumentTypeError
from clipsearch.files import open_regular
from clipsearch.ingest.source import SourceError

ColumnType = Literal["string", "integer", "float", "bool"]
SUFFIXES = frozenset({".csv", ".jsonl", ".ndjson", ".parquet", ".tsv"})

_MARKED = {  # UTF-32 first: its mark begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_HEAD = 1024  # bytes; where more of them than an eighth are zero it is UTF-16, or no text
_NO_UTF8 = re.compile("[\udc80-\udcff]")
_NO_WIDE = "\udc00"


def _mark(error: UnicodeError) -> tuple[str, int]:
    """Stands for what cannot be decoded. As `surrogateescape`, which UTF-16 and -32 cannot have."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return _NO_WIDE, error.end


codecs.register_error("clipsearch.marked", _mark)


@dataclass(frozen=True, slots=True)
class Row:
    """A row: where it stands, for people (`line 3`, `row 3`), and its cells by column.

    `problem` says why it cannot be read. A `blank` row is none, but counts in the positions of rows.
    """

    place: str
    cells: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""
    blank: bool = False


class Table(ABC):
    """A list file. `columns` are those it declares, empty where only its rows can tell.

    `remarks`: what its reader should know of how it was read, a sentence each.
    """

    path: Path
    columns: tuple[str, ...] = ()
    remarks: Sequence[str] = ()

    @abstractmethod
    def rows(self) -> Iterator[Row]:
        """All rows in order. Raises SourceError where the file as such cannot be read on."""


def open_text(path: Path) -> IO[str]:
    """A text file: UTF-8, or UTF-16 or -32 with a byte order mark. Raises SourceError for others.

    Lines are as they stand. Bytes that are no text become surrogates: see `undecoded`.
    """
    with open_regular(path) as file:
        head = file.read(_HEAD)
    encoding = next((name for mark, name in _MARKED.items() if head.startswith(mark)), "")
    if encoding:
        return path.open(encoding=encoding, errors="clipsearch.marked", newline="")
    if 8 * head.count(0) > len(head):
        raise SourceError(f"{path}: no text in UTF-8 (it has zero bytes); save it as UTF-8")
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")


def undecoded(text: str) -> str:
    """What bytes a text from `open_text` held that are none in the file's encoding; "" for none."""
    if text.isascii():
        return ""
    if _NO_WIDE in text:
        return "bytes that are no UTF-16 or -32, as its mark says it is"
    return "bytes that are no UTF-8" if _NO_UTF8.search(text) else ""


def found(columns: tuple[str, ...]) -> str:
    """The columns that there are, for a message about one that is not."""
    return f"columns are {', '.join(columns)}" if columns else "it has no columns"


def column_types(given: Any) -> Mapping[str, ColumnType]:
    """Types by column, as a caller declares them. Raises TypeError and ValueError."""
    if not isinstance(given, Mapping):
        raise ArgumentTypeError(
            f"types: must map columns to types, such as {{'price': 'float'}}, is {given!r}"
        )
    for name, type_ in given.items():
        choice(f"types[{name!r}]", type_, dict.fromkeys(get_args(ColumnType)))
    return given


def as_id(value: Any) -> tuple[str | None, str]:
    """A cell as an id: a string or a whole number; none with what is wrong with it, or none."""
    if value is None or (isinstance(value, str) and not value.strip()) or value != value:
        return None, ""
    if isinstance(value, str):
        return value, ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value():
        value = int(value)  # databases write their numbers so
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value), ""
    return None, f"has {value!r}, which is no id; it must be a string or a whole number"


def repeated(hashes: array[int]) -> frozenset[int]:
    """Those of some hashes that are there more than once. In 8 bytes each, as rows may be many."""
    ordered = np.sort(np.frombuffer(hashes, dtype=np.int64))
    return frozenset(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
