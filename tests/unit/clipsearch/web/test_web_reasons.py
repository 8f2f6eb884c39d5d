"""The registry of the page's own reasons against the code that gives them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import grpc

import clipsearch.web
from clipsearch.web.reasons import WEB_REASONS
from tests.documents import reasons

# A variable of the environment, and words of OpenSSL's that are looked for.
NOT_REASONS = {"XDG_CACHE_HOME", "CERTIFICATE_VERIFY_FAILED", "WRONG_VERSION_NUMBER"}
STATUS_NAMES = {code.name for code in grpc.StatusCode}


def constants() -> Iterator[ast.AST]:
    for file in Path(clipsearch.web.__file__).parent.rglob("*.py"):
        if file.name != "reasons.py":
            yield from ast.walk(ast.parse(file.read_text(encoding="utf-8")))


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
    known = set(WEB_REASONS) | set(reasons()) | STATUS_NAMES | NOT_REASONS
    assert used - known == set(), "reasons that callers are not told of"
    assert set(WEB_REASONS) - used == {"INTERNAL"}, "reasons that no code gives (INTERNAL has no underscore)"


def test_every_status_is_what_the_code_gives():
    pairs = given()
    assert len(pairs) > 15
    assert {reason for status, reason in pairs if status not in WEB_REASONS[reason].statuses} == set()
    assert {status for reason in WEB_REASONS.values() for status in reason.statuses} <= set(HTTPStatus)
