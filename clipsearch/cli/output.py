"""What the commands print: tables and JSON to stdout, everything else to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

# Wide enough that ids and paths stay on one line where nobody sees a line break: in a pipe or a file.
_PIPE_WIDTH = 200


def stdout() -> Console:
    """The console for results."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH, highlight=False)


def stderr() -> Console:
    """The console for messages and progress."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    print(json.dumps(value, ensure_ascii=False, indent=2))


def table(*columns: str, title: str | None = None) -> Table:
    """An empty table; columns whose name ends in `>` hold numbers and stand right."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold")
    for column in columns:
        name = column.removesuffix(">")
        table.add_column(name, justify="right" if name != column else "left", overflow="fold")
    return table


def plain(text: object) -> str:
    """Text from outside, safe to print: no markup, and nothing that could steer the terminal."""
    from rich.markup import escape

    return escape("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text)))


def describe(payload: Mapping[str, Any]) -> str:
    """A payload in one line: its path if it has one, otherwise its fields."""
    path = payload.get("path")
    return str(path) if path else ", ".join(f"{key}={value}" for key, value in payload.items())


def size(count: int) -> str:
    """Bytes for people: 12.3 MiB."""
    if count < 1024:
        return f"{count} B"
    power = min((count.bit_length() - 1) // 10, 4)
    return f"{count / 1024**power:.1f} {('KiB', 'MiB', 'GiB', 'TiB')[power - 1]}"
