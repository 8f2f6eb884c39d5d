"""What a run is to do: flags, each with a variable, and the variables alone for Locust's own processes."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

SCENARIOS = ("text", "image", "mixed", "ingest")


class SettingsError(Exception):
    """A setting is not usable; one line for whoever gave it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`search` and `encoder`: host:port, "" = start both services here. `*_metrics`: URLs, "" = none."""

    search: str = ""
    encoder: str = ""
    search_metrics: str = ""
    encoder_metrics: str = ""
    model: Path = Path("build/models/starter")
    out: Path = Path("build/load")
    collection: str = "clipsearch-load"
    points: int = 20_000
    scenarios: tuple[str, ...] = SCENARIOS
    seconds: float = 112.0  # of the whole run; the steps of the load are cut to fit
    deadline_s: float = 1.0  # an answer counts if it comes within this, counted from when the call was due

    def environment(self) -> dict[str, str]:
        """The same as variables, for the processes that make the load."""
        return {f"LOAD_{field.name.upper()}": _text(getattr(self, field.name)) for field in fields(self)}


_HELP = {
    "search": "host:port of the search service; without it both services are started here",
    "encoder": "host:port of the encoder, for what is measured of it alone",
    "search_metrics": "URL of the search service's metrics, http://search:9100/metrics",
    "encoder_metrics": "URL of the encoder's metrics",
    "model": "folder of the bundle that a started encoder serves",
    "out": "folder of the results",
    "collection": "collection that is made, filled and deleted again",
    "points": "points to fill it with",
    "scenarios": f"what to load, of {','.join(SCENARIOS)}",
    "seconds": "seconds of the whole run",
    "deadline_s": "seconds within which an answer counts",
}


def read(arguments: Sequence[str] | None = None) -> tuple[Settings, list[str]]:
    """Settings from flags and LOAD_* variables, a flag first; and the arguments left over, for Locust.

    Raises SettingsError.
    """
    parser = argparse.ArgumentParser(
        prog="python -m tests.load",
        description="Loads the services and reports; what is not listed here goes to Locust.",
        allow_abbrev=False,
    )
    defaults = {field.name: field.default for field in fields(Settings)}
    for name, default in defaults.items():
        flag, help = f"--{name.removesuffix('_s').replace('_', '-')}", f"{_HELP[name]} ({_variable(name)})"
        parser.add_argument(flag, dest=name, help=f"{help}; default: {_text(default)!r}")
    given, others = parser.parse_known_args(arguments)
    values: dict[str, Any] = {}
    for name, default in defaults.items():
        value = getattr(given, name)
        value = os.environ.get(_variable(name)) if value is None else value
        values[name] = default if value is None else _parse(name, default, value)
    settings = Settings(**values)
    _check(settings)
    return settings, others


def _variable(name: str) -> str:
    return f"LOAD_{name.upper()}"


def _text(value: object) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _parse(name: str, default: object, value: object) -> object:
    text = str(value)
    try:
        if isinstance(default, tuple):
            return tuple(part.strip() for part in text.split(",") if part.strip())
        return type(default)(text)  # type: ignore[call-arg]
    except ValueError:
        raise SettingsError(f"{name}: {text!r} is not a {type(default).__name__}") from None


def _check(settings: Settings) -> None:
    if unknown := [name for name in settings.scenarios if name not in SCENARIOS]:
        raise SettingsError(f"scenarios: there is no {unknown[0]!r}; there are {', '.join(SCENARIOS)}")
    if not settings.scenarios:
        raise SettingsError("scenarios: none given")
    for name, least in (("points", 100), ("seconds", 10), ("deadline_s", 0.05)):
        if not getattr(settings, name) >= least:
            raise SettingsError(f"{name}: must be at least {least}, is {getattr(settings, name)}")
