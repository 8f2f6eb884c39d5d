"""The tokens file: what it may hold, what is refused, and what happens when it changes."""

from __future__ import annotations

import asyncio
import errno
import json
from pathlib import Path

import pytest

from clipsearch.serving.security import tokens as tokens_module
from clipsearch.serving.security.tokens import Grants, Scope, create_token, read_grants, sha256
from clipsearch.serving.service import StartError
from tests.waiting import until

HASH = sha256("x")
ACME = {"field": "shop", "value": "acme"}


def entry(**changes: object) -> str:
    fields = {"name": "shop", "sha256": HASH, "scopes": ["search"], **changes}
    return json.dumps({key: value for key, value in fields.items() if value is not None})


def test_a_new_token_is_found_and_is_not_in_the_file(tokens):
    token = tokens.add("shop", "search", "write", collections=["shoes"], rate_per_s=5)
    text = tokens.path.read_text()
    assert token not in text
    assert sha256(token) in text
    grant = Grants(tokens.path).of_token(token)
    assert grant is not None
    assert (grant.name, grant.scopes) == ("shop", {Scope.SEARCH, Scope.WRITE})
    assert (grant.collections, grant.rate_per_s) == ({"shoes"}, 5)


def test_tokens_are_long_and_never_the_same():
    made = {create_token() for _ in range(100)}
    assert len(made) == 100
    assert min(map(len, made)) >= 43


def test_comments_and_empty_lines_are_left_out(tmp_path):
    path = tmp_path / "tokens"
    path.write_text(f"# who may call\n\n{entry()}\n  # {entry(name='old')}\n")
    assert [grant.name for grant in read_grants(path)] == ["shop"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("nonsense", "line 2"),
        ("[]", "line 2"),
        (entry(scopes=[]), "scopes"),
        (entry(scopes=["read"]), r"scopes.*encode"),
        (entry(sha256="abc"), "sha256"),
        (entry(sha256=None), "sha256 or certificate"),
        (entry(certificate="a.example.com"), "sha256 or certificate"),
        (entry(name=""), "name"),
        (entry(name="a b\n"), "name"),
        (entry(collections=[]), "collections"),
        (entry(rate_per_s=0), "rate_per_s"),
        (entry(tenant={"shop": "acme"}), "tenant.field"),
        (entry(tenant={"field": "a.b", "value": "acme"}), "tenant.field"),
        (entry(tenant={"field": "_clipsearch_id", "value": "acme"}), "tenant.field"),
        (entry(tenant={"field": "shop", "value": "acme/x"}), "tenant.value"),
        (entry(tenant={"field": "shop", "value": ""}), "tenant.value"),
        (entry(tenant=ACME, scopes=["search", "admin"]), "scope admin"),
        (
            f"{entry(tenant=ACME)}\n{entry(name='b', sha256=sha256('y'), tenant={**ACME, 'field': 'firm'})}",
            "'shop' \\('shop'\\) and 'firm' \\('b'\\)",
        ),
        (entry(scope="search"), "scope: Extra"),
        (f"{entry()}\n{entry(sha256=sha256('y'))}", "name of another line"),
        (f"{entry()}\n{entry(name='b')}", "sha256 of another line"),
    ],
)
def test_a_bad_line_is_named_and_its_hash_is_not(tmp_path, text, problem):
    path = tmp_path / "tokens"
    path.write_text(f"# first\n{text}\n")
    with pytest.raises(StartError, match=problem) as caught:
        read_grants(path)
    assert str(path) in str(caught.value)
    assert HASH not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(StartError, match="no-such-file"):
        Grants(tmp_path / "no-such-file")
    (tmp_path / "latin").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StartError, match="UTF-8"):
        Grants(tmp_path / "latin")


@pytest.mark.parametrize("damage", ["nonsense\n", None])
def test_a_damaged_or_missing_file_leaves_the_last_good_one_in_force(tokens, damage):
    token = tokens.add("shop", "search")
    grants = Grants(tokens.path)
    if damage is None:
        tokens.path.unlink()
    else:
        tokens.path.write_text(damage)
    grants.reload()
    assert grants.of_token(token) is not None
    tokens.path.write_text("")
    grants.reload()
    assert grants.of_token(token) is None


def test_a_file_that_may_be_read_again_is_read_again(tokens, monkeypatch):
    tokens.add("old", "search")
    grants = Grants(tokens.path)
    token = tokens.add("shop", "search")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_text", refuse)
        grants.reload()
    assert grants.of_token(token) is None
    tokens.path.chmod(0o640)
    grants.reload()
    assert grants.of_token(token) is not None


def refuse(*arguments, **options):
    raise PermissionError(errno.EACCES, "Permission denied")


async def test_changes_are_noticed_without_being_asked(tokens, monkeypatch):
    monkeypatch.setattr(tokens_module, "POLL_S", 0.01)
    tokens.add("old", "search")
    grants = Grants(tokens.path)
    watching = asyncio.create_task(grants.watch())
    token = tokens.add("new", "search")
    await until(lambda: grants.of_token(token) is not None)
    watching.cancel()
