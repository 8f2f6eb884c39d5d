"""What the encoder can be told."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipsearch.serving.settings import SettingsError, load_settings
from encoder_service.settings import EncoderSettings


def test_the_defaults_are_those_of_the_api() -> None:
    settings = load_settings(EncoderSettings)
    assert (settings.host, settings.port) == ("127.0.0.1", 50051)
    assert settings.model == Path("build/models/starter")
    assert (settings.max_images, settings.max_texts, settings.max_labels) == (64, 256, 256)
    assert (settings.max_image_bytes, settings.decode_memory_mb) == (20 * 2**20, 0)


def test_the_environment_is_read_and_a_flag_beats_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENCODER_THREADS", "3")
    monkeypatch.setenv("ENCODER_MAX_BATCH", "16")
    settings = load_settings(EncoderSettings, threads=5, max_batch=None)
    assert (settings.threads, settings.max_batch) == (5, 16)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ENCODER_PROVIDER", "abacus"),
        ("ENCODER_IMAGE_PRECISION", "int4"),
        ("ENCODER_THREADS", "-1"),
        ("ENCODER_DECODE_MEMORY_MB", "-1"),
        ("ENCODER_QUEUE_IMAGES", "0"),
    ],
)
def test_a_value_that_cannot_be_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"{name}: .*{value}"):
        load_settings(EncoderSettings)


def test_a_misspelt_name_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENCODER_MAX_BACH", "8")
    with pytest.raises(SettingsError, match="did you mean ENCODER_MAX_BATCH"):
        load_settings(EncoderSettings)
