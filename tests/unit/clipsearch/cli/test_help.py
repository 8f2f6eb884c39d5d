"""What `--help` shows is what is written."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import pytest
import typer
from typer.testing import CliRunner

from clipsearch.cli import app


def commands(command: click.Command, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(child, *path, name)


WITH_BRACKETS = [
    pytest.param(path, texts, id=" ".join(path))
    for path, command in commands(typer.main.get_command(app))
    if "["
    in (texts := " ".join([command.help or "", *(getattr(p, "help", "") or "" for p in command.params)]))
]


@pytest.mark.parametrize(("path", "texts"), WITH_BRACKETS)
def test_brackets_are_not_taken_for_markup(path, texts):
    shown = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "200"}).output
    shown = re.sub(r"[\s│]", "", shown)
    for brackets in re.findall(r"\[.*?\]", texts):
        assert re.sub(r"\s", "", brackets) in shown
