"""Settings: precedence, errors that name the variable, and what people read of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr
from pydantic_settings import SettingsConfigDict

from clipsearch.channel.connection import is_loopback
from clipsearch.serving.settings import (
    ServingSettings,
    SettingsError,
    effective,
    environment_names,
    load_settings,
    markdown_table,
)
from encoder_service.settings import EncoderSettings
from search_service.settings import SearchSettings


class ToySettings(ServingSettings):
    model_config = SettingsConfigDict(env_prefix="TOY_")

    max_batch: int = 8
    api_key: SecretStr | None = None


def test_a_flag_beats_the_environment_that_the_file_and_that_the_default(monkeypatch, tmp_path):
    assert load_settings(ToySettings).max_batch == 8
    file = tmp_path / "toy.env"
    file.write_text("# ours\nTOY_MAX_BATCH=16\nTOY_PORT=5000\n")
    monkeypatch.setenv("TOY_SETTINGS_FILE", str(file))
    assert (load_settings(ToySettings).max_batch, load_settings(ToySettings).port) == (16, 5000)
    monkeypatch.setenv("TOY_MAX_BATCH", "32")
    assert load_settings(ToySettings).max_batch == 32
    assert load_settings(ToySettings, max_batch=None).max_batch == 32
    assert load_settings(ToySettings, max_batch=64).max_batch == 64
    monkeypatch.delenv("TOY_MAX_BATCH")
    monkeypatch.delenv("TOY_SETTINGS_FILE")
    assert load_settings(ToySettings, settings_file=file).max_batch == 16


@pytest.mark.parametrize("place", ["environment", "file"])
def test_a_misspelt_name_is_refused_with_a_hint(monkeypatch, tmp_path, place):
    file = tmp_path / "toy.env"
    file.write_text("TOY_MAX_BACH=16\n")
    if place == "environment":
        monkeypatch.setenv("TOY_MAX_BACH", "16")
    with pytest.raises(SettingsError, match=r"TOY_MAX_BACH: no such setting; did you mean TOY_MAX_BATCH\?"):
        load_settings(ToySettings, settings_file=file if place == "file" else None)


def test_a_bad_value_names_variable_and_value(monkeypatch):
    monkeypatch.setenv("TOY_PORT", "70000")
    with pytest.raises(SettingsError, match=r"TOY_PORT: .*65535.*'70000'"):
        load_settings(ToySettings)


def test_a_file_that_is_not_there_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setenv("TOY_SETTINGS_FILE", str(tmp_path / "nowhere.env"))
    with pytest.raises(SettingsError, match=r"TOY_SETTINGS_FILE: there is no file .*nowhere\.env"):
        load_settings(ToySettings)


def test_a_bad_secret_is_not_shown(monkeypatch):
    with pytest.raises(SettingsError) as caught:
        load_settings(ToySettings, api_key=["very", "secret"])
    assert "TOY_API_KEY" in str(caught.value)
    assert "secret" not in str(caught.value).replace("SecretStr", "")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost"])
def test_loopback_needs_no_tls(host):
    assert is_loopback(host)
    assert load_settings(ToySettings, host=host).host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "search.example.com", "localhost.example.com"])
def test_other_addresses_need_tls_or_a_plain_word(host):
    with pytest.raises(SettingsError) as caught:
        load_settings(ToySettings, host=host)
    for name in ("TOY_HOST", "TOY_TLS_CERTIFICATE", "TOY_TLS_KEY", "TOY_INSECURE=true"):
        assert name in str(caught.value)
    assert load_settings(ToySettings, host=host, insecure=True).insecure
    files = {"tls_certificate": Path("a.crt"), "tls_key": Path("a.key")}
    assert load_settings(ToySettings, host=host, **files).tls_key == Path("a.key")


@pytest.mark.parametrize("given", [{"tls_certificate": "a"}, {"tls_key": "a"}, {"tls_client_ca": "a"}])
def test_tls_files_that_lack_others_are_refused(given):
    with pytest.raises(SettingsError, match=r"TOY_TLS_CERTIFICATE and TOY_TLS_KEY"):
        load_settings(ToySettings, **given)


def test_values_in_effect_are_shown_by_variable_and_secrets_are_not():
    shown = effective(ToySettings(port=7000, api_key="very secret"))
    assert shown["TOY_PORT"] == "7000"
    assert shown["TOY_API_KEY"] == "********"
    assert shown["TOY_INSECURE"] == "false"
    assert shown["TOY_TLS_KEY"] == ""
    assert "very secret" not in str(shown)
    assert effective(ToySettings())["TOY_API_KEY"] == ""


@pytest.mark.parametrize("cls", [EncoderSettings, SearchSettings])
def test_the_table_has_a_row_for_every_setting_and_each_says_what_it_means(cls):
    header, _, *rows = markdown_table(cls).splitlines()
    assert header == "| Variable | Default | Meaning |"
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert [variable.strip("`") for variable, _, _ in cells] == list(environment_names(cls).values())
    assert all(meaning for _, _, meaning in cells)


def test_what_config_prints_can_be_read_again(tmp_path):
    settings = ToySettings(port=7000, drain_grace_s=2.5, log_level="debug", token_rate_per_s=10)
    file = tmp_path / "toy.env"
    file.write_text("".join(f"{name}={value}\n" for name, value in effective(settings).items() if value))
    assert ToySettings(_env_file=file) == settings
