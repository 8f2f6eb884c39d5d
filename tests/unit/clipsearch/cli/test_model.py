"""`clipsearch model`: what it takes, prints and refuses. What export and verify do has tests of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from clipsearch.cli.model import app
from encoder_service.bundle import Manifest, ParityCheck, open_bundle, write_manifest
from encoder_service.export import ExportError
from tests.toy_bundle import build_toy

CHECK = ParityCheck(
    name="int8 against fp32",
    tower="image",
    metric="mean cosine",
    value=0.9,
    bound=0.8,
    passed=True,
    samples=9,
)

WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
from clipsearch.cli.model import app
app(["export", "some/model", "--out", sys.argv[1]])
"""


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    build_toy(tmp_path / "bundle")
    manifest = open_bundle(tmp_path / "bundle")
    write_manifest(tmp_path / "bundle", manifest.model_copy(update={"parity": [CHECK]}))
    return tmp_path / "bundle"


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.output


@pytest.fixture
def told(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """What an exporter, which is none, was told to make; a resnet is what it cannot make."""
    told = []

    def export_bundle(source: str, out: Path, *, progress: object, **options: object) -> Manifest:
        if source == "resnet":
            raise ExportError("no such architecture")
        told.append((source, out, *options.values()))
        return open_bundle(bundle)

    monkeypatch.setitem(
        sys.modules, "encoder_service.export.build", SimpleNamespace(export_bundle=export_bundle)
    )
    return told


def test_export_makes_what_it_is_told_and_shows_it(told, tmp_path) -> None:
    out = tmp_path / "x"
    options = ["--precision", "fp32,fp16,fp32", "--revision", "v2", "--dimension", "256"]
    code, output = run("export", "some/model", "--out", str(out), *options)
    assert run("export", "--random-init", "tiny", "--out", str(out))[0] == code == 0
    assert told == [
        ("some/model", out, False, "v2", 256, ["fp32", "fp16"]),
        ("tiny", out, True, None, 0, ["fp32", "int8"]),
    ]
    assert "8 x 8, crop" in output
    assert "int8 against fp32" in output
    code, output = run("export", "--random-init", "resnet", "--out", str(out))
    assert (code, output) == (1, "error: no such architecture\n")


def test_show_says_what_the_model_is_and_as_json_is_the_manifest(bundle: Path) -> None:
    code, output = run("show", str(bundle))
    assert code == 0
    for expected in ("toy", "RANDOM", "image.fp32.onnx", "8 x 8, crop", "int8 against fp32"):
        assert expected in output
    _, output = run("show", str(bundle), "--json")
    assert Manifest.model_validate(json.loads(output)) == open_bundle(bundle)


@pytest.mark.parametrize(("passed", "exit_code"), [(True, 0), (False, 1)])
def test_verify_prints_the_report_and_fails_where_a_bound_is_missed(
    bundle, monkeypatch, passed, exit_code
) -> None:
    found = [CHECK, CHECK.model_copy(update={"passed": passed})]
    monkeypatch.setattr("encoder_service.export.verify.verify_bundle", lambda *_, **__: found)
    code, output = run("verify", str(bundle))
    assert code == exit_code
    assert "mean cosine" in output
    assert ("MISSED" in output) == ("1 of 2 checks missed their bound" in output) == (not passed)


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    code, output = run("show", str(tmp_path))
    assert code == 1
    assert "is not a model bundle" in output


@pytest.mark.parametrize("arguments", [[], ["some/model", "--random-init", "tiny"]])
def test_one_source_must_be_named(tmp_path: Path, arguments: list[str]) -> None:
    code, output = run("export", *arguments, "--out", str(tmp_path / "x"))
    assert code == 2
    assert "--random-init NAME" in output


@pytest.mark.parametrize(("precision", "message"), [("int8", "always"), ("fp32,fp8", "fp8")])
def test_other_precisions_are_refused(told, tmp_path: Path, precision: str, message: str) -> None:
    code, output = run("export", "some/model", "--out", str(tmp_path / "x"), "--precision", precision)
    assert code == 2
    assert message in output


def test_without_torch_it_says_how_to_get_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WITHOUT_TORCH, str(tmp_path / "x")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "pip install 'clipsearch[export]'" in done.stderr
    assert "Traceback" not in done.stderr
