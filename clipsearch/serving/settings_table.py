"""The settings as people read them: a table of what can be set, and the values in effect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import SecretStr

from clipsearch.serving.settings import ServingSettings, environment_names

MASK = "********"


def markdown_table(cls: type[ServingSettings]) -> str:
    """A row for each setting of `cls`: variable, default, meaning. docs/settings.md is made of it."""
    names = environment_names(cls)
    rows = [
        f"| `{names[name]}` | {_default(field.get_default())} | {field.description or ''} |"
        for name, field in cls.model_fields.items()
    ]
    return "\n".join(["| Variable | Default | Meaning |", "|---|---|---|", *rows]) + "\n"


def effective(settings: ServingSettings) -> dict[str, str]:
    """Variable -> value in effect, as it would be written; secrets are masked, "" = not set."""
    names = environment_names(type(settings))
    return {variable: _written(getattr(settings, name)) for name, variable in names.items()}


def _default(value: Any) -> str:
    written = _written(value)
    return f"`{written}`" if written else ""


def _written(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        return MASK if value.get_secret_value() else ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
