"""What a front end is told, and what it does without."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from encoder_service.bundle import read_manifest
from encoder_service.encoder import Running
from encoder_service.frontends.frontend import Facts
from encoder_service.settings import EncoderSettings


def test_the_facts_arrive_as_they_were_whatever_the_environment_says(
    toy_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = EncoderSettings(
        model=toy_bundle, port=4711, frontends=3, tokens_file=Path("tokens"), max_batch=7, drain_delay_s=0.5
    )
    sent = Facts(settings, read_manifest(toy_bundle), Running("fp32", "int8", "p"), 2, True)
    monkeypatch.setenv("ENCODER_PORT", "1")
    monkeypatch.setenv("ENCODER_MAX_BATCH", "99")
    monkeypatch.setenv("ENCODER_TLS_CERTIFICATE", "elsewhere.pem")
    assert Facts.from_json(sent.to_json()) == sent


def modules_after(code: str) -> set[str]:
    """Names of the modules that are there after a program has run."""
    program = f"import sys; {code}; print('\\n'.join(sys.modules))"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(found.stdout.split())


def test_a_front_end_does_not_load_the_runtime_that_it_has_no_use_for() -> None:
    assert "onnxruntime" not in modules_after("import encoder_service.frontends.frontend")


def test_without_the_setting_nothing_of_front_ends_is_imported() -> None:
    modules = modules_after("import encoder_service.__main__")
    assert not {name for name in modules if name.startswith("encoder_service.frontends")}
