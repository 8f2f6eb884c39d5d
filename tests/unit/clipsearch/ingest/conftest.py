"""The fake search service as a fixture."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from clipsearch.client.aio import AsyncClient
from tests.unit.clipsearch.ingest.served import FakeSearch, serving


@pytest.fixture
async def served() -> AsyncIterator[tuple[FakeSearch, AsyncClient]]:
    async with serving() as both:
        yield both
