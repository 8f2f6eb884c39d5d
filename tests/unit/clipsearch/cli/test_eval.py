"""`clipsearch eval`: options that do not go together are told by their names, before anything is asked."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from clipsearch.cli import app


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "give a file of QUERIES, or --made-of captions or folders"),
        (("q.jsonl", "--made-of", "folders"), "and not both"),
        (("--made-of", "folders", "--k", "1,0"), "--k: '1,0': write numbers of 1 to 1000"),
        (("--made-of", "folders", "--ef", "9999"), "--ef: '9999': write numbers of 1 to 4096"),
        (
            ("--made-of", "folders", "--fail-below", "recall@5=0.8"),
            "--fail-below: 'recall@5=0.8': measured are",
        ),
        (("--made-of", "folders", "--precision", "int8"), "--precision: goes with --source only"),
        (
            ("--made-of", "folders", "--source", ".", "-c", "a"),
            "--collection: goes with a collection that is",
        ),
        (("--made-of", "folders", "--source", "."), "--source needs at least one --model"),
        (
            ("--made-of", "folders", "--source", ".", "--model", "m", "--quantization", "none,int4"),
            "--quantization: int4: there are none, scalar, binary, product, turbo",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(words, complaint):
    result = CliRunner().invoke(app, ["eval", *words])
    assert result.exit_code == 2
    assert complaint in " ".join(result.output.replace("│", " ").split())
