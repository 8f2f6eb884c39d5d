"""The list of reasons, docs/errors.md, against the code that raises them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import grpc

from tests.documents import reasons

ROOT = Path(__file__).parents[4]
# Files with other names in capitals: variables of the environment, and of WSGI's.
NOT_REASONS = {"settings.py", "http_port.py"}
STATUS_NAMES = {code.name for code in grpc.StatusCode}
DERIVED = {"NotFound": "{}_NOT_FOUND", "AlreadyExists": "{}_EXISTS", "Unavailable": "{}_UNAVAILABLE"}


def sources() -> list[Path]:
    folders = [ROOT / "clipsearch" / "serving", ROOT / "encoder_service", ROOT / "search_service"]
    files = [file for folder in folders for file in folder.rglob("*.py")]
    return [file for file in files if file.name not in NOT_REASONS and "export" not in file.parts]


def reasons_in(file: Path) -> set[str]:
    found = set()
    tree = ast.parse(file.read_text(encoding="utf-8"))
    variables = {
        constant
        for node in ast.walk(tree)
        if isinstance(node, ast.Call | ast.Subscript) and ast.unparse(node).startswith("os.environ")
        for constant in ast.walk(node)
    }
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and re.fullmatch(r"[A-Z]+(_[A-Z]+)+", str(node.value))
            and node not in variables
        ):
            found.add(str(node.value))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in DERIVED:
            kind = node.args[0]
            assert isinstance(kind, ast.Constant), f"{file}:{node.lineno}: say what it is in a literal"
            found.add(DERIVED[node.func.id].format(kind.value.upper()))
    return found


def test_every_reason_in_the_code_is_registered_and_the_other_way_round():
    used = set().union(*map(reasons_in, sources()))
    listed = set(reasons())
    assert used - listed - STATUS_NAMES == set(), "reasons that callers are not told of"
    assert listed - used == {"INTERNAL"}, "reasons that no code gives (INTERNAL has no underscore)"


def test_every_status_is_one_of_grpcs():
    for name, statuses in reasons().items():
        assert set(statuses.split(", ")) <= STATUS_NAMES, name
