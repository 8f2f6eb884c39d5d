"""Fixtures: a fake encoder, and a search server in front of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from search_service.settings import SearchSettings
from tests.ports import kept_port
from tests.unit.search_service.served import Client, FakeEncoder, fill_arc, serving
from tests.waiting import HANGS_S


@pytest.fixture
async def encoder() -> AsyncIterator[FakeEncoder]:
    with kept_port() as port:  # some tests stop it
        fake = FakeEncoder(port)
        await fake.start()
        yield fake
        await fake.stop()


@pytest.fixture
async def second() -> AsyncIterator[FakeEncoder]:
    """The encoder of another model."""
    with kept_port() as port:
        fake = FakeEncoder(port)
        fake.name, fake.fingerprint = "other", "fake-2"
        await fake.start()
        yield fake
        await fake.stop()


@pytest.fixture(scope="session")
def settings() -> SearchSettings:
    """Small limits where a test would otherwise be slow."""
    return SearchSettings(max_points=32, max_limit=100, max_window=500, max_ids=50, encoder_timeout_s=HANGS_S)


@pytest.fixture
async def client(tmp_path: Path, encoder: FakeEncoder, settings: SearchSettings) -> AsyncIterator[Client]:
    """A search server with an empty store."""
    async with serving(tmp_path / "data", encoder.address, settings) as client:
        yield client


@pytest.fixture
async def arc(client: Client, encoder: FakeEncoder) -> None:
    await fill_arc(client, encoder)
