"""The services, each a process of its own, as a user would start them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.processes import SMALL_ENCODER, ServiceProcess


@contextmanager
def services(
    folder: Path, bundle: Path, search_settings: dict[str, str] | None = None, **encoder_settings: str
) -> Iterator[tuple[ServiceProcess, ServiceProcess]]:
    """Yields an encoder and a search service in front of it."""
    with (
        ServiceProcess(
            "encoder", folder, ENCODER_MODEL=str(bundle), **SMALL_ENCODER | encoder_settings
        ) as encoder,
        ServiceProcess(
            "search",
            folder,
            SEARCH_ENCODER=encoder.address,
            SEARCH_DATA_DIR=str(folder / "data"),
            **(search_settings or {}),
        ) as search,
    ):
        yield encoder, search
