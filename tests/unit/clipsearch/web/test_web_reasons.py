"""The table of the page's own reasons in docs/errors.md against the code that gives them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import grpc

import clipsearch.web
from tests.documents import reasons

PAGE = Path(clipsearch.web.__file__).parents[2] / "docs/errors.md"
# Words of OpenSSL's that are looked for.
NOT_REASONS = {"CERTIFICATE_VERIFY_FAILED", "WRONG_VERSION_NUMBER"}
STATUS_NAMES = {code.name for code in grpc.StatusCode}


def constants() -> Iterator[ast.AST]:
    for file in Path(clipsearch.web.__file__).parent.rglob("*.py"):
        yield from ast.walk(ast.parse(file.read_text(encoding="utf-8")))


def told() -> dict[str, set[int]]:
    """The HTTP statuses of each reason, by the table; none where any may come with it."""
    _, _, table = PAGE.read_text(encoding="utf-8").partition("## Reasons of the search page")
    rows = re.findall(r"^\| `(\w+)` \| ([\d, ]+|any) \| .+ \|$", table, re.MULTILINE)
    return {reason: {int(status) for status in re.findall(r"\d+", statuses)} for reason, statuses in rows}


def given() -> set[tuple[int, str]]:
    """Status and reason of each WebError that is made of constants."""
    return {
        (node.args[0].value, node.args[1].value)
        for node in constants()
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "WebError"
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[1], ast.Constant)
    }


def test_every_reason_in_the_code_is_registered_and_the_other_way_round():
    used = {
        node.value
        for node in constants()
        if isinstance(node, ast.Constant) and re.fullmatch(r"[A-Z]+(_[A-Z]+)+", str(node.value))
    }
    known = set(told()) | set(reasons()) | STATUS_NAMES | NOT_REASONS
    assert used - known == set(), "reasons that callers are not told of"
    assert set(told()) - used == {"INTERNAL"}, "reasons that no code gives (INTERNAL has no underscore)"


def test_every_status_is_what_the_code_gives():
    pairs, statuses = given(), told()
    assert len(pairs) > 15
    assert {reason for status, reason in pairs if status not in statuses[reason]} == set()
    assert set().union(*statuses.values()) <= set(HTTPStatus)
