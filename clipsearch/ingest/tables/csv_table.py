"""CSV as it comes: the delimiter found, broken lines alone, and a type for each column."""

from __future__ import annotations

import csv
import math
import re
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from clipsearch.filters.expressions import EXACT_INTEGER
from clipsearch.ingest.source import EmptySource, SourceError
from clipsearch.ingest.tables.table import ColumnType, Row, Table, found, open_text, undecoded

NO_VALUE = frozenset(
    [
        "N/A",
        "n/a",
        "NA",
        "na",
        "NaN",
        "nan",
        "NAN",
        "null",
        "NULL",
        "Null",
        "None",
        "none",
        "NONE",
        "nil",
        "-",
        "--",
        "---",
        "?",
        "#N/A",
        "#NA",
        "<NA>",
        "\u2013",
        "\u2014",
    ]
)
"""Cells that say that there is no value. In a column declared as string they are words."""

_LARGEST_CELL = 16 * 1024 * 1024  # characters; where a quote is never closed, reading ends here
_DELIMITERS = (",", ";", "\t", "|")
_SAID = re.compile(r"^sep=(.)\r?\n?$")  # Excel's own way to name the delimiter
_COMMA = re.compile(r"^[-+]?[\d.]*,\d+$")  # 7,50 or 1.000,5: what it means depends on the country
_AROUND = re.compile(r"^(?:\+(?=[0-9.]))?(-?)(?:0+(?=[0-9]))?")
_SAID_TRUE = {
    **dict.fromkeys(("true", "t", "yes", "y", "on", "1"), True),
    **dict.fromkeys(("false", "f", "no", "n", "off", "0"), False),
}
_GUESSED: tuple[ColumnType, ...] = ("integer", "float", "bool")
_ENOUGH = 1000  # cells after which a column of words is taken for one


class CsvTable(Table):
    """Delimited values with a header: commas, semicolons, tabs or bars, whichever gives the columns.

    A cell that is blank or a word for "no value" counts as not there.
    """

    def __init__(self, path: Path, types: Mapping[str, ColumnType], verbatim: frozenset[str]) -> None:
        self.path = path
        self._skipped, self._delimiter, self._spaced, self._header = self._read_header(verbatim)
        self.columns = tuple(name for name in self._header if name)
        repeated = [name for name in self.columns if self.columns.count(name) > 1]
        if repeated:
            raise SourceError(f"{path}, line {self._skipped + 1}: two columns are called {repeated[0]!r}")
        unknown = [name for name in types if name not in self.columns]
        if unknown:
            raise SourceError(f"{path}: no column {unknown[0]!r} to have a type; {found(self.columns)}")
        self._literal = frozenset(name for name, type_ in types.items() if type_ == "string")
        self._types: dict[str, ColumnType] = {**types}
        for name in verbatim & set(self.columns):
            if self._types.setdefault(name, "string") != "string":
                raise SourceError(
                    f"{path}: column {name!r} has ids, paths or texts, which are strings, not {types[name]}"
                )
        self._infer()
        self._readers = {
            name: (_DECLARED if name in types else _READERS)[type_] for name, type_ in self._types.items()
        }

    def rows(self) -> Iterator[Row]:
        """The rows, their cells typed."""
        for place, cells in self._records():
            if isinstance(cells, str):
                yield Row(place, problem=cells)
            else:
                yield self._row(place, cells)

    def _row(self, place: str, cells: list[str]) -> Row:
        if not any(map(str.strip, cells)):
            return Row(place, blank=True)
        self._align(cells)
        if len(cells) != len(self._header):
            return Row(place, problem=f"{len(cells)} cells, there are {len(self._header)} columns")
        typed: dict[str, Any] = {}
        problem = ""
        for name, cell in zip(self._header, cells, strict=True):
            if not name or not self._is_value(name, cell):
                continue
            if wrong := undecoded(cell):
                return Row(place, problem=f"column {name!r} has {wrong}")
            value = self._readers[name](cell)
            if value is None:
                problem = problem or f"column {name!r}: {cell!r} is no {self._types[name]}"
            else:
                typed[name] = value
        return Row(place, typed, problem)

    def _align(self, cells: list[str]) -> None:
        """Drops empty cells beyond the columns, and adds those of columns without a name at the end."""
        while len(cells) > len(self._header) and not cells[-1].strip():
            cells.pop()
        missing = self._header[len(cells) :]
        if not any(missing):
            cells += missing

    def _is_value(self, name: str, cell: str) -> bool:
        bare = cell.strip()
        return bool(bare) and (bare not in NO_VALUE or name in self._literal)

    def _infer(self) -> None:
        """The narrowest type that every cell of a column has."""
        guesses = {name: _Guess() for name in self.columns if name not in self._types}
        words: dict[str, Counter[str]] = {}
        nameless: Counter[int] = Counter()
        for place, cells in self._records():
            if isinstance(cells, str):
                continue
            self._align(cells)
            if len(cells) < len(self._header):
                continue
            for i, name in enumerate(self._header):
                if not name:
                    nameless[i] += bool(cells[i].strip())
                elif self._is_value(name, cells[i]):
                    if name in guesses:
                        guesses[name].see(place, cells[i])
                elif bare := cells[i].strip():
                    words.setdefault(name, Counter())[bare] += 1
        self._types |= {name: guess.type() for name, guess in guesses.items()}
        self.remarks = [
            *(_said_of_words(name, counts) for name, counts in words.items()),
            *(said for name, guess in guesses.items() if (said := guess.remark(name))),
            *(
                f"column {i + 1} has no name in the header: its {count:,} values are left out"
                for i, count in nameless.items()
                if count
            ),
        ]

    def _read_header(self, wanted: frozenset[str]) -> tuple[int, str, bool, list[str]]:
        """Lines before the header, the delimiter, whether blanks follow it, and the columns' names."""
        skipped, said = 0, ""
        with open_text(self.path) as file:
            for line in file:
                if line.strip() and not (match := _SAID.match(line)):
                    break
                skipped += 1
                said = match[1] if line.strip() and match else said
            else:
                raise EmptySource(f"{self.path}: empty; the first line must name the columns")
        if wrong := undecoded(line):
            raise SourceError(f"{self.path}, line {skipped + 1}: the header has {wrong}; save it as UTF-8")
        choices = (said,) if said else ("\t",) if self.path.suffix.lower() == ".tsv" else _DELIMITERS
        headers: dict[str, list[str]] = {}
        for delimiter in choices:
            try:
                with open_text(self.path) as file:
                    cells = next(csv.reader(_from(file, skipped), delimiter=delimiter, strict=True))
            except csv.Error as error:
                problem = str(error)
            else:
                headers[delimiter] = cells
        if not headers:
            raise SourceError(f"{self.path}, line {skipped + 1}: {problem}")

        def fitting(delimiter: str) -> tuple[int, int]:
            names = {_name(cell) for cell in headers[delimiter]}
            return len(wanted & names), len(headers[delimiter])

        delimiter = max(headers, key=fitting)
        cells = headers[delimiter]
        names = [_name(cell) for cell in cells]
        return skipped, delimiter, any(cell[:1] == " " for cell in cells), names

    def _records(self) -> Iterator[tuple[str, list[str] | str]]:
        """The line that each record begins in, and its cells, or what is wrong with it.

        After a record that is broken, often by a quote that is never closed, it goes on with the line
        after the record's first.
        """
        csv.field_size_limit(_LARGEST_CELL)
        with open_text(self.path) as file:
            ahead: deque[str] = deque()  # lines that are read once more
            taken: list[str] = []  # the lines of this record
            number, header = self._skipped + 1, True
            rest = _from(file, self._skipped)

            def lines() -> Iterator[str]:
                while (line := ahead.popleft() if ahead else next(rest, None)) is not None:
                    taken.append(line)
                    yield line

            while True:
                reader = csv.reader(
                    lines(), delimiter=self._delimiter, skipinitialspace=self._spaced, strict=True
                )
                try:
                    for cells in reader:
                        if cells and not header:
                            yield f"line {number}", cells
                        header = False
                        number += len(taken)
                        taken.clear()
                    return
                except csv.Error as error:
                    yield f"line {number}", f"no CSV ({error})"
                    ahead.extendleft(reversed(taken[1:]))
                    number += 1
                    taken.clear()


@dataclass(slots=True)
class _Guess:
    """What the cells of a column may be."""

    seen: int = 0
    fitting: Counter[ColumnType] = field(default_factory=Counter)
    against: dict[ColumnType, tuple[str, str]] = field(default_factory=dict)

    def see(self, place: str, cell: str) -> None:
        if self.seen >= _ENOUGH and 2 * max(self.fitting.values(), default=0) < self.seen:
            return  # words
        self.seen += 1
        for type_ in _GUESSED:
            if _READERS[type_](cell) is not None:
                self.fitting[type_] += 1
            elif type_ not in self.against:
                self.against[type_] = (place, cell)

    def type(self) -> ColumnType:
        fits = [type_ for type_ in _GUESSED if self.seen and type_ not in self.against]
        return fits[0] if fits else "string"

    def remark(self, name: str) -> str:
        """Why it is text, where most of its cells are something else."""
        if self.type() != "string" or not self.seen:
            return ""
        if not self.fitting and _COMMA.match(self.against["float"][1].strip()):
            return f"column {name!r} is read as text: a comma in {self.against['float'][1]!r} makes no number"
        type_, count = max(self.fitting.items(), key=lambda one: one[1], default=("string", 0))
        others = self.seen - count
        if 2 * count <= self.seen:
            return ""
        place, cell = self.against[type_]
        more = f" and {others - 1:,} more" if others > 1 else ""
        return (
            f"column {name!r} is read as text because of {place} ({_short(cell)}){more}; "
            f"with --type {name}={type_} only such rows fail"
        )


def _from(file: IO[str], skipped: int) -> Iterator[str]:
    for _ in range(skipped):
        next(file)
    return file


def _name(cell: str) -> str:
    return cell.strip().strip("\ufeff")


def _said_of_words(name: str, counts: Counter[str]) -> str:
    kinds = ", ".join(_short(word) for word, _ in counts.most_common(3))
    return (
        f"column {name!r}: {counts.total():,} read as no value ({kinds}); "
        f"--type {name}=string keeps such words"
    )


def _short(cell: str) -> str:
    return repr(cell if len(cell) <= 40 else f"{cell[:40]}...")


def _integer(cell: str) -> int | None:
    bare = cell.strip()
    digits = bare.removeprefix("-")
    return int(bare) if digits == "0" or (digits[:1] != "0" and _is_exact(digits)) else None


def _float(cell: str) -> float | None:
    bare = cell.strip()
    digits = bare.lstrip("+-")
    if not bare[-1:].isdigit() or "_" in bare or (digits[0] == "0" and digits[1:2].isdigit()):
        return None  # nan, inf and names, 1_000 as Python has it; 0042 is a code
    if digits.isdigit() and not _is_exact(digits):
        return None
    try:
        number = float(bare)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _is_exact(digits: str) -> bool:
    """Whether it is a whole number that a payload holds without rounding it."""
    return digits.isascii() and digits.isdigit() and len(digits) <= 16 and int(digits) <= EXACT_INTEGER


def _bool(cell: str) -> bool | None:
    return {"true": True, "false": False}.get(cell.strip().lower())


def _bare_number(cell: str) -> str:
    """A number without its plus, the zeros before it and a point at its end."""
    return _AROUND.sub(r"\1", cell.strip()).removesuffix(".")


def _bool_declared(cell: str) -> bool | None:
    return _SAID_TRUE.get(cell.strip().lower())


_READERS: dict[str, Callable[[str], Any]] = {
    "string": str,
    "integer": _integer,
    "float": _float,
    "bool": _bool,
}
# Where the type is declared nothing need be guessed: 0042 is a number, and yes is true.
_DECLARED: dict[str, Callable[[str], Any]] = {
    "string": str,
    "integer": lambda cell: _integer(_bare_number(cell)),
    "float": lambda cell: _float(_bare_number(cell)),
    "bool": _bool_declared,
}
