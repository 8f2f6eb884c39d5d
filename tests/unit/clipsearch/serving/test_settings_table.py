"""Settings as people read them."""

from __future__ import annotations

import pytest
from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from clipsearch.serving.settings import ServingSettings, environment_names
from clipsearch.serving.settings_table import effective, markdown_table
from encoder_service.settings import EncoderSettings
from search_service.settings import SearchSettings


class ToySettings(ServingSettings):
    model_config = SettingsConfigDict(env_prefix="TOY_")

    api_key: SecretStr | None = Field(default=None, description="key")


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
