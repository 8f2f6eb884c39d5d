"""`clipsearch token create`: the token once, the line for the file."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from clipsearch.cli import app
from clipsearch.serving.security.tokens import Grants, Scope, Tenant


def create(*arguments: str):
    return CliRunner().invoke(app, ["token", "create", *arguments])


def test_the_line_on_stdout_makes_the_token_on_stderr_valid(tmp_path: Path):
    result = create(
        *("--name", "shop", "--scope", "search", "--scope", "write"),
        *("--collection", "shoes", "--rate", "5", "--tenant", "shop=a=b"),
    )
    assert result.exit_code == 0
    token = result.stderr.split()[-1]
    assert token.startswith("cs_")
    assert token not in result.stdout
    file = tmp_path / "tokens"
    file.write_text(result.stdout)
    grant = Grants(file).of_token(token)
    assert grant is not None
    assert (grant.name, grant.scopes) == ("shop", {Scope.SEARCH, Scope.WRITE})
    assert (grant.collections, grant.rate_per_s) == ({"shoes"}, 5)
    assert grant.tenant == Tenant(field="shop", value="a=b")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--name", "shop"], "--scope"),
        (["--scope", "search"], "--name"),
        (["--name", "shop", "--scope", "read"], "for --scope: Input"),
        (["--name", "two words", "--scope", "search"], "for --name: String"),
        (["--name", "shop", "--scope", "search", "--rate", "-1"], "for --rate: Input"),
        (["--name", "shop", "--scope", "search", "--tenant", "acme"], "FIELD=VALUE"),
        (["--name", "shop", "--scope", "search", "--tenant", "shop="], "for --tenant: value: String"),
        (["--name", "shop", "--scope", "admin", "--tenant", "shop=acme"], "Invalid value: a tenant cannot"),
    ],
)
def test_what_is_wrong_is_named_and_no_token_is_shown(arguments, problem):
    result = create(*arguments)
    assert result.exit_code == 2
    assert problem in result.stderr
    assert "cs_" not in result.output
