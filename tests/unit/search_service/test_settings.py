"""The service's settings and their variables."""

from __future__ import annotations

import pytest

from clipsearch.serving.settings import SettingsError, load_settings
from search_service.settings import SearchSettings


def test_qdrants_own_variables_and_ours(monkeypatch):
    monkeypatch.setenv("QDRANT_URL", "http://qdrant:6334")
    monkeypatch.setenv("QDRANT_API_KEY", "hush")
    monkeypatch.setenv("SEARCH_ENCODER", "dns:///encoder:50051")
    monkeypatch.setenv("SEARCH_ENCODER_TOKEN", "cs_hush")
    settings = load_settings(SearchSettings)
    assert settings.qdrant_url == "http://qdrant:6334"
    assert settings.qdrant_api_key is not None
    assert settings.qdrant_api_key.get_secret_value() == "hush"
    assert settings.encoder == "dns:///encoder:50051"
    assert "hush" not in repr(settings)


def test_flags_beat_variables_also_for_qdrants(monkeypatch):
    monkeypatch.setenv("QDRANT_URL", "http://qdrant:6334")
    assert load_settings(SearchSettings, qdrant_url="http://other:6334").qdrant_url == "http://other:6334"


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("SEARCH_QDRANT_URL", "x", "SEARCH_QDRANT_URL: no such setting"),
        ("SEARCH_MAX_LIMIT", "0", "SEARCH_MAX_LIMIT"),
        ("SEARCH_ENCODER", "", "SEARCH_ENCODER"),
        ("SEARCH_DATA_DIR", "", "SEARCH_DATA_DIR: must not be empty"),
    ],
)
def test_a_wrong_variable_is_told_by_name(monkeypatch, name, value, told):
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=told):
        load_settings(SearchSettings)


@pytest.mark.parametrize("name", ["SEARCH_ENCODER_TOKEN", "QDRANT_API_KEY"])
@pytest.mark.parametrize("secret", ["s3cret\n", "s3crét", "s3\tcret"])
def test_a_secret_that_no_call_can_carry_is_refused_and_not_shown(monkeypatch, name, secret):
    monkeypatch.setenv(name, secret)
    with pytest.raises(SettingsError, match=f"{name} holds what no call can carry") as caught:
        load_settings(SearchSettings)
    assert "s3" not in str(caught.value)


@pytest.mark.parametrize("name", ["CA", "CERTIFICATE", "KEY", "SERVER_NAME"])
def test_tls_to_the_encoder_is_not_left_out_in_silence(monkeypatch, name):
    monkeypatch.setenv(f"SEARCH_ENCODER_TLS_{name}", "x")
    with pytest.raises(SettingsError, match="need SEARCH_ENCODER_TLS=true"):
        load_settings(SearchSettings)


@pytest.mark.parametrize("name", ["CERTIFICATE", "KEY"])
@pytest.mark.parametrize("server", ["ENCODER", "QDRANT"])
def test_a_certificate_needs_its_key(monkeypatch, server, name):
    monkeypatch.setenv("SEARCH_ENCODER_TLS", "true")
    monkeypatch.setenv("QDRANT_URL", "https://qdrant:6333")
    monkeypatch.setenv(f"SEARCH_{server}_TLS_{name}", "x")
    with pytest.raises(SettingsError, match=f"SEARCH_{server}_TLS_KEY belong together"):
        load_settings(SearchSettings)


@pytest.mark.parametrize("name", ["CA", "CERTIFICATE", "KEY"])
def test_tls_files_for_qdrant_are_not_ignored_over_http(monkeypatch, name):
    monkeypatch.setenv("QDRANT_URL", "http://qdrant:6333")
    monkeypatch.setenv(f"SEARCH_QDRANT_TLS_{name}", "x")
    with pytest.raises(SettingsError, match="https://"):
        load_settings(SearchSettings)
