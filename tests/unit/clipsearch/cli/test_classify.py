"""`clipsearch classify`: what the encoder refuses is told by the option's name."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from clipsearch.cli import app
from clipsearch.client.errors import ClipSearchError
from clipsearch.client.sync import EncoderClient


@pytest.mark.parametrize(
    ("field", "option"),
    [
        ("labels[3]", "--labels"),
        ("labels", "--labels"),
        ("prompt_template", "--template"),
        ("prompt_templates[1]", "--template"),
    ],
)
def test_a_prompt_that_is_refused_names_its_option(monkeypatch, tmp_path, field, option):
    def refuses(*_: object, **__: object) -> None:
        raise ClipSearchError("INVALID_ARGUMENT", f"{field}: 9 bytes, the limit is 8", field=field)

    monkeypatch.setattr(EncoderClient, "classify", refuses)
    (tmp_path / "cat.jpg").write_bytes(b"x")
    result = CliRunner().invoke(app, ["classify", str(tmp_path / "cat.jpg"), "--labels", "cat,dog"])
    assert result.exit_code == 2
    said = " ".join(result.output.split())
    assert option in said
    assert "9 bytes, the limit is 8" in said
    assert f" {field}: 9" not in said
