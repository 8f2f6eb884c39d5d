"""What the commands print: tables and JSON to stdout, everything else to stderr."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from clipsearch.display.text import cut

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

_PIPE_WIDTH = 100_000  # in a pipe or a file a line is as long as what it says
_SURROGATE = re.compile("[\ud800-\udfff]")


def stdout() -> Console:
    """The console for results."""
    from rich.console import Console

    return Console(width=None if is_terminal(sys.stdout) else _PIPE_WIDTH, highlight=False)


def stderr() -> Console:
    """The console for messages and progress."""
    from rich.console import Console

    return Console(stderr=True, width=None if is_terminal(sys.stderr) else _PIPE_WIDTH, highlight=False)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether somebody sees what is written there."""
    return stream is not None and stream.isatty()


def tolerate_encodings() -> None:
    """Lets what stdout or stderr cannot encode be escaped, where it would be a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def print_json(value: Any) -> None:
    """One JSON document on stdout: in ASCII where stdout is not UTF-8."""
    is_utf8 = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"
    text = json.dumps(value, ensure_ascii=not is_utf8, indent=2)
    print(_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text))


def table(*columns: str, title: str | None = None) -> Table:
    """An empty table; columns whose name ends in `>` hold numbers and stand right."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold")
    for column in columns:
        name = column.removesuffix(">")
        table.add_column(name, justify="right" if name != column else "left", overflow="fold")
    return table


def progress_bar(*, transient: bool = False) -> Progress:
    """A progress bar on stderr; a task's field `note` stands at its end. `transient`: it goes when done."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=stderr(),
        disable=not is_terminal(sys.stderr),
        transient=transient,
    )


@contextmanager
def progress() -> Iterator[Callable[..., None]]:
    """A bar on stderr for one step of some work after another: what tells it of a step.

    It takes the step's name, what is done, of how much (None = not known), and a note for the end of the
    line. A bar goes with its step.
    """
    bar = progress_bar(transient=True)
    shown, task = "", bar.add_task("", total=None, note="")

    def show(step: str, done: int = 0, total: int | None = None, note: str = "") -> None:
        nonlocal shown, task
        bar.start()  # between steps the terminal is others'
        most = None if total is None else max(done, total)  # more may come meanwhile
        if step != shown:  # the last one's total and time left are none of this step's
            bar.remove_task(task)
            shown, task = step, bar.add_task(plain(step), total=most, note="")
        bar.update(task, completed=done, total=most, note=note)
        if total is not None and done >= total:
            bar.stop()

    try:
        yield show
    finally:
        bar.stop()


def say(message: str) -> None:
    """A note on stderr, dimmed."""
    stderr().print(f"[dim]{plain(message)}[/dim]")


def plain(text: object) -> str:
    """Text from outside, safe to print: no markup, and nothing that could steer the terminal."""
    from rich.markup import escape

    return escape("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text)))


def describe(payload: Mapping[str, Any]) -> str:
    """A payload in one line: its path if it has one, otherwise its fields, long ones cut."""
    path = payload.get("path")
    if path:
        return str(path)
    from clipsearch.client.types import BOOKKEEPING

    return ", ".join(
        f"{key}={cut(str(value), 120)}" for key, value in payload.items() if key not in BOOKKEEPING
    )


def size(count: int) -> str:
    """Bytes for people: 12.3 MiB."""
    if count < 1024:
        return f"{count} B"
    power = min((count.bit_length() - 1) // 10, 4)
    return f"{count / 1024**power:.1f} {('KiB', 'MiB', 'GiB', 'TiB')[power - 1]}"
