"""Connections: one for each side, shared by all tokens, of which none is shown for another."""

from __future__ import annotations

from clipsearch.web.clients import Clients
from clipsearch.web.settings import Side, WebSettings


async def test_tokens_share_a_connection_and_no_token_is_shown_for_another():
    sides = {"a": Side("127.0.0.1:1", "127.0.0.1:2"), "b": Side("127.0.0.1:3", "127.0.0.1:4")}
    clients = Clients(WebSettings(sides))
    mine, yours, nobody, other = (
        clients.of(*who) for who in (("a", "x"), ("a", "y"), ("a", None), ("b", "x"))
    )
    assert mine.search._channel is yours.search._channel is nobody.search._channel
    assert mine.search._channel is not other.search._channel
    assert (mine.search.address, other.encoder.address) == ("127.0.0.1:1", "127.0.0.1:4")
    assert mine.search._metadata == mine.encoder._metadata == (("authorization", "Bearer x"),)
    assert yours.search._metadata == yours.encoder._metadata == (("authorization", "Bearer y"),)
    assert nobody.search._metadata == ()
    await clients.close()
