"""The names that others build on: a change of one is a change of `public_names.json`, and seen in review.

Those of settings stand in docs/settings.md, which test_docs.py keeps to the code.

`python -m tests.unit.test_public_names` writes the file anew.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("public_names.json")
ROOT = FILE.parents[2]
METRIC = re.compile(r"(clipsearch|grpc_server)_[a-z_*]*[a-z]")


def client() -> dict[str, Any]:
    """What `clipsearch` and `clipsearch.ingest` export; of the clients, the methods and their parameters.

    Those of asyncio have the same: clipsearch/client/test_rpc.py.
    """
    import clipsearch
    from clipsearch import ingest

    return {
        "clipsearch": sorted(clipsearch.__all__),
        "clipsearch.ingest": sorted(ingest.__all__),
        "Client": _methods(clipsearch.Client),
        "EncoderClient": _methods(clipsearch.EncoderClient),
    }


def _methods(kind: type) -> dict[str, list[str]]:
    public = [name for name in dir(kind) if not name.startswith("_")]
    return {name: _parameters(getattr(kind, name)) for name in public}


def _parameters(method: Any) -> list[str]:
    """Those that may be given by position, in order, then the others by name."""
    parameters = list(inspect.signature(method).parameters.values())[1:]
    return [
        *(one.name for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD),
        *sorted(one.name for one in parameters if one.kind is one.KEYWORD_ONLY),
    ]


def commands() -> dict[str, list[str]]:
    """Every command with its arguments and options."""
    import typer.main

    from clipsearch.cli import app

    return dict(_commands("clipsearch", typer.main.get_command(app)))


def _commands(name: str, command: Any) -> Iterator[tuple[str, list[str]]]:
    own = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
    if own or not hasattr(command, "commands"):
        yield name, sorted(own)
    for child, under in sorted(getattr(command, "commands", {}).items()):
        yield from _commands(f"{name} {child}", under)


def metrics() -> list[str]:
    """The metrics by the strings that name them; `*` stands for what a format string fills in."""
    files = [*(ROOT / "clipsearch/serving/telemetry").glob("*.py"), *ROOT.glob("*_service/**/*metrics*.py")]
    trees = [ast.parse(file.read_text()) for file in files]
    found = {_text(node) for tree in trees for node in ast.walk(tree)}
    return sorted(name for name in found if METRIC.fullmatch(name))


def _text(node: ast.AST) -> str:
    match node:
        case ast.JoinedStr():
            return "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in node.values)
        case ast.Constant(value=str(text)):
            return text
    return ""


def test_public_names_are_those_of_the_file():
    known = json.loads(FILE.read_text())
    assert _public_names() == known, "if that is meant: python -m tests.unit.test_public_names"


def _public_names() -> dict[str, Any]:
    return {"client": client(), "commands": commands(), "metrics": metrics()}


if __name__ == "__main__":
    FILE.write_text(json.dumps(_public_names(), indent=1) + "\n")
