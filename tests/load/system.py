"""The services under load: those at the given addresses, or both started here on free ports."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.load.settings import Settings, SettingsError
from tests.processes import ServiceProcess


@dataclass(frozen=True, slots=True)
class System:
    """Where the services are; `pids` by name if they run here, which lets a profile be made."""

    settings: Settings  # with the addresses filled in
    pids: dict[str, int] = field(default_factory=dict)


@contextmanager
def system(settings: Settings, folder: Path) -> Iterator[System]:
    """Services to load until the block ends; logs and data of started ones lie in `folder`.

    Raises SettingsError.
    """
    if settings.search:
        yield System(settings)
        return
    if not (settings.model / "manifest.json").is_file():
        raise SettingsError(f"model: {settings.model} is no model bundle; `make model` makes one")
    with (
        ServiceProcess(
            "encoder", folder, ENCODER_MODEL=str(settings.model), ENCODER_METRICS_PORT="0"
        ) as encoder,
        ServiceProcess(
            "search",
            folder,
            SEARCH_ENCODER=encoder.address,
            SEARCH_DATA_DIR=str(folder / "data"),
            SEARCH_METRICS_PORT="0",
        ) as search,
    ):
        filled = dataclasses.replace(
            settings,
            search=search.address,
            encoder=encoder.address,
            encoder_metrics=f"http://{encoder.metrics_address()}/metrics",
            search_metrics=f"http://{search.metrics_address()}/metrics",
        )
        yield System(filled, {"encoder": encoder.pid, "search": search.pid})
