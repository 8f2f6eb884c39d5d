from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clipsearch.cli.model import app
from encoder_service.bundle import Manifest, open_bundle

TINY = "clip-vit-tiny-test"

WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
from clipsearch.cli.model import app
app(["export", "some/model", "--out", sys.argv[1]])
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "bundle"
    result = CliRunner().invoke(app, ["export", "--random-init", TINY, "--out", str(folder)])
    assert result.exit_code == 0, result.output
    return folder


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.output


def test_export_writes_a_bundle_of_both_precisions(bundle: Path) -> None:
    manifest = open_bundle(bundle)
    assert manifest.name == f"random/{TINY}"
    assert manifest.precisions == {"image": ["fp32", "int8"], "text": ["fp32", "int8"]}


def test_show_says_what_the_model_is(bundle: Path) -> None:
    code, output = run("show", str(bundle))
    assert code == 0
    for expected in (f"random/{TINY}", "RANDOM", "image.int8.onnx", "64 x 64, crop", "fp32 against torch"):
        assert expected in output


def test_show_as_json_is_the_manifest(bundle: Path) -> None:
    code, output = run("show", str(bundle), "--json")
    assert code == 0
    assert Manifest.model_validate(json.loads(output)) == open_bundle(bundle)


def test_verify_prints_the_report(bundle: Path) -> None:
    code, output = run("verify", str(bundle))
    assert code == 0
    assert "R@10 lost, points" in output
    assert "MISSED" not in output


def test_verify_exits_with_1_where_a_file_is_not_the_manifests(bundle: Path) -> None:
    graph = bundle / "text.int8.onnx"
    content = graph.read_bytes()
    graph.write_bytes(content[:-1])
    try:
        code, output = run("verify", str(bundle))
    finally:
        graph.write_bytes(content)
    assert code == 1
    assert "text.int8.onnx was altered" in output


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    code, output = run("show", str(tmp_path))
    assert code == 1
    assert "is not a model bundle" in output


def test_an_unknown_architecture_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    code, output = run("export", "--random-init", "resnet", "--out", str(tmp_path / "x"))
    assert code == 1
    assert "clip-vit-base-patch32" in output
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("arguments", [[], ["some/model", "--random-init", TINY]])
def test_one_source_must_be_named(tmp_path: Path, arguments: list[str]) -> None:
    code, output = run("export", *arguments, "--out", str(tmp_path / "x"))
    assert code == 2
    assert "--random-init NAME" in output


@pytest.mark.parametrize(("precision", "message"), [("int8", "always"), ("fp32,fp8", "fp8")])
def test_other_precisions_are_refused(tmp_path: Path, precision: str, message: str) -> None:
    code, output = run("export", "some/model", "--out", str(tmp_path / "x"), "--precision", precision)
    assert code == 2
    assert message in output


def test_without_torch_it_says_how_to_get_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WITHOUT_TORCH, str(tmp_path / "x")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "pip install 'clipsearch[export]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["export", "starter", "verify", "show"])
def test_help_teaches_with_an_example(command: str) -> None:
    code, output = run(command, "--help")
    assert code == 0
    assert f"clipsearch model {command}" in output
