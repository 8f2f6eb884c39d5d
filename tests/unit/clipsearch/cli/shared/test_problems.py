"""Which errors a command says in one line."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clipsearch.cli import app
from clipsearch.cli.shared.problems import _EXPECTED, explain
from clipsearch.client.errors import ClipSearchError


@pytest.mark.parametrize("name", sorted(_EXPECTED))
def test_an_error_that_is_expected_exists_and_is_told_by_its_message(name):
    module, _, kind = name.rpartition(".")
    assert explain(getattr(import_module(module), kind)("what is wrong")) == "what is wrong"


def test_errors_that_are_derived_from_one_are_told_and_faults_are_not():
    from clipsearch.ingest import EmptySource

    assert explain(EmptySource("no rows")) == "no rows"
    assert explain(ValueError("a bug")) is None
    assert explain(ModuleNotFoundError("No module named 'nobody'", name="nobody")) is None


@pytest.mark.parametrize(
    ("why", "hint"),
    [
        ("Connection refused", "Is it running?"),
        ("Socket closed", "Does it speak TLS? Set CLIPSEARCH_TLS_CA"),
        ("Socket closed", "where it asks for a certificate, CLIPSEARCH_TLS_CERT and _KEY"),
        ("Tls handshake failed: WRONG_VERSION_NUMBER", "It speaks no TLS: unset CLIPSEARCH_TLS_CA"),
        ("Tls handshake failed: CERTIFICATE_VERIFY_FAILED", "CLIPSEARCH_TLS_CA, _CERT and _KEY name"),
    ],
)
def test_a_service_that_cannot_be_reached_is_told_with_what_to_do(why, hint):
    error = ClipSearchError("UNAVAILABLE", f"cannot reach it ({why})", reason="SERVER_UNREACHABLE")
    assert hint in str(explain(error))


@pytest.mark.parametrize(
    ("package", "command", "extra"),
    [
        ("sklearn", ["map", "c"], "map"),
        ("matplotlib", ["map", "c"], "map"),
        ("ir_measures", ["eval", "q.jsonl"], "eval"),
        ("pyarrow", ["backup", "c", "c.tar"], "parquet"),
        ("pyarrow", ["restore", "c.tar"], "parquet"),
    ],
)
def test_a_missing_package_is_told_before_any_call(package, command, extra):
    without = f"import sys; sys.modules[{package!r}] = None; from clipsearch.cli import main; main()"
    words = [sys.executable, "-c", without, *command, "--server", "127.0.0.1:1"]
    told = subprocess.run(words, stderr=subprocess.PIPE, text=True, check=False)
    said = f"error: this needs {package}: pip install 'clipsearch[{extra}]'\n"
    assert (told.returncode, told.stderr) == (1, said)


def test_a_missing_onnx_runtime_is_told_with_both_that_there_are():
    said = explain(ModuleNotFoundError("No module named 'onnxruntime'", name="onnxruntime"))
    assert said is not None
    assert "pip install 'clipsearch[cpu]', or 'clipsearch[gpu]'" in said


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_under_stdout_is_told_in_one_line():
    command = [sys.executable, "-m", "clipsearch.cli", "token", "create", "--name", "a", "--scope", "search"]
    with Path("/dev/full").open("w") as full:
        told = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    *_, last = told.stderr.splitlines()
    assert (told.returncode, last) == (1, "error: cannot be written: No space left on device")


def test_a_fault_of_the_client_stays_a_fault():
    """Wherever it is raised: what cannot be sent has a class of its own."""
    from clipsearch.client import requests

    with pytest.raises(TypeError) as caught:
        requests.search("c", "a", bogus=1)
    assert explain(caught.value) is None
    with pytest.raises(TypeError) as caught:
        requests.search_groups("c", "a", group_by="b", bogus=1)
    assert explain(caught.value) is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("update", "mug", "--set", "price=NaN"), "set.price: nan is no number that JSON has"),
        (("update", "mug", "--set", "price=9007199254740993"), "set.price: 9007199254740993 is beyond 2**53"),
        (("update", "", "--set", "price=5"), "ids[0]: empty"),
        (("delete", "", "--yes"), "ids[0]: empty"),
        (("search", "--like", ""), "query[0].point_id: empty"),
        (
            ("collections", "update", "c", "--quantization-param", "size=1"),
            "quantization_params: 'size' is none",
        ),
        (
            ("collections", "update", "c", "--optimizer", "deleted_threshold=all"),
            "optimizers: deleted_threshold",
        ),
    ],
)
def test_what_cannot_be_sent_is_told_in_one_line(words, said):
    told = CliRunner().invoke(app, [*words, "--server", "127.0.0.1:1"])
    assert (told.exit_code, told.stderr.count("\n")) == (1, 1), told.output
    assert told.stderr.startswith(f"error: {said}")


@pytest.mark.parametrize(
    "words",
    [
        ("update", "mug", "--set", "price=1", "--set", "price=2"),
        ("collections", "create", "c", "--index", "price=float", "--index", "price=integer"),
        ("collections", "index", "c", "price=float", "price=integer"),
        (
            "collections",
            "update",
            "c",
            "--optimizer",
            "max_segment_size_kb=1",
            "--optimizer",
            "max_segment_size_kb=2",
        ),
        ("index", "list.csv", "--type", "price=float", "--type", "price=integer"),
    ],
)
def test_a_name_that_an_option_gives_twice_is_refused(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.csv").write_text("text,price\na mug,5\n")
    told = CliRunner().invoke(app, [*words, "--server", "127.0.0.1:1"])
    assert (told.exit_code, "is given twice" in told.stderr) == (2, True), told.output


@pytest.mark.parametrize(
    "words",
    [
        ("index", ""),
        ("index", ".", "--checkpoint", ""),
        ("index", ".", "--failures", ""),
        ("backup", "c", ""),
        ("restore", ""),
    ],
)
def test_an_empty_path_is_not_taken_for_the_current_folder(words):
    told = CliRunner().invoke(app, [*words, "--server", "127.0.0.1:1"])
    assert (told.exit_code, "the path is empty" in told.stderr) == (2, True), told.output


@pytest.mark.parametrize(
    "words", [("search", "a mug", "--group-size", "2"), ("duplicates", "c", "--json", "--ids")]
)
def test_an_option_that_would_be_passed_over_is_refused(words):
    assert CliRunner().invoke(app, [*words, "--server", "127.0.0.1:1"]).exit_code == 2


@pytest.mark.parametrize(
    "read", ["list.csv", "vectors.npy --ids list.csv", "other.npy --checkpoint list.csv"]
)
def test_failures_are_not_written_over_what_is_read(read, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.csv").write_text("id,text\n1,a mug\n")
    command = ["index", *read.split(), "--failures", "./list.csv", "--server", "127.0.0.1:1"]
    told = CliRunner().invoke(app, command)
    assert "list.csv would be written over" in told.stderr, told.output
    assert (told.exit_code, (tmp_path / "list.csv").read_text()) == (1, "id,text\n1,a mug\n")
