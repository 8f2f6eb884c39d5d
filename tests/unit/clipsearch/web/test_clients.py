"""Connections: one for each side and token, shared, bounded, never closed under a call."""

from __future__ import annotations

import pytest

from clipsearch.web.clients import Clients
from clipsearch.web.settings import Side, WebSettings


@pytest.fixture
async def clients():
    sides = {"a": Side("127.0.0.1:1", "127.0.0.1:2"), "b": Side("127.0.0.1:3", "127.0.0.1:4")}
    made = Clients(WebSettings(sides), most=3)
    yield made
    await made.close()


@pytest.fixture
def closed(monkeypatch) -> list[str]:
    """The tokens of the services that were closed."""
    tokens = []

    async def close(self):
        tokens.append(self.search._metadata[0][1])

    monkeypatch.setattr("clipsearch.web.clients.Services.close", close)
    return tokens


async def test_a_request_uses_the_connection_of_the_last(clients):
    async with clients.use("a", "x") as first, clients.use("a", "x") as second:
        assert first is second
    async with clients.use("a", "x") as third:
        assert third is first


async def test_no_token_is_called_with_the_connection_of_another(clients):
    async with clients.use("a", "x") as mine, clients.use("a", "y") as yours, clients.use("b", "x") as other:
        assert len({id(mine.search), id(yours.search), id(other.search)}) == 3
        assert mine.search.address == "127.0.0.1:1"
        assert other.encoder.address == "127.0.0.1:4"
        assert mine.search._metadata == (("authorization", "Bearer x"),)
        assert yours.encoder._metadata == (("authorization", "Bearer y"),)


async def test_those_unused_for_longest_are_closed(clients, closed):
    for token in ("1", "2", "3", "1", "4", "5"):
        async with clients.use("a", token):
            pass
    assert closed == ["Bearer 2", "Bearer 3"]


async def test_one_in_use_is_not_closed(clients, closed):
    async with clients.use("a", "1"), clients.use("a", "2"):
        for token in ("3", "4", "5"):
            async with clients.use("a", token):
                pass
        assert closed == ["Bearer 3", "Bearer 4"]
