"""Settings: precedence, and errors that name the variable."""

from __future__ import annotations

import pytest
from pydantic_settings import SettingsConfigDict

from clipsearch.serving.settings import ServingSettings, SettingsError, load_settings


class ToySettings(ServingSettings):
    model_config = SettingsConfigDict(env_prefix="TOY_")

    max_batch: int = 8


def test_a_flag_beats_the_environment_and_that_the_default(monkeypatch):
    assert load_settings(ToySettings).max_batch == 8
    monkeypatch.setenv("TOY_MAX_BATCH", "16")
    assert load_settings(ToySettings).max_batch == 16
    assert load_settings(ToySettings, max_batch=32).max_batch == 32
    assert load_settings(ToySettings, max_batch=None).max_batch == 16


def test_a_misspelt_variable_is_refused_with_a_hint(monkeypatch):
    monkeypatch.setenv("TOY_MAX_BACH", "16")
    with pytest.raises(SettingsError, match=r"TOY_MAX_BACH: no such setting; did you mean TOY_MAX_BATCH\?"):
        load_settings(ToySettings)


def test_a_bad_value_names_variable_and_value(monkeypatch):
    monkeypatch.setenv("TOY_PORT", "70000")
    with pytest.raises(SettingsError, match=r"TOY_PORT: .*65535.*'70000'"):
        load_settings(ToySettings)


def test_a_bad_flag_is_refused_too():
    with pytest.raises(SettingsError, match="TOY_MAX_BATCH"):
        load_settings(ToySettings, max_batch="many")
