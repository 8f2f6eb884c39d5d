"""The fake search service and a client of it as fixtures."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from clipsearch.client.aio import AsyncClient
from tests.unit.clipsearch.ingest.served import FakeSearch, serving


@pytest.fixture
async def served() -> AsyncIterator[tuple[FakeSearch, AsyncClient]]:
    async with serving() as both:
        yield both


@pytest.fixture
def fake(served: tuple[FakeSearch, AsyncClient]) -> FakeSearch:
    return served[0]


@pytest.fixture
def client(served: tuple[FakeSearch, AsyncClient]) -> AsyncClient:
    return served[1]
