"""A tenant that makes calls of every kind learns nothing of others, and changes nothing of theirs."""

from __future__ import annotations

from clipsearch.serving.security.auth import Guard
from clipsearch.serving.security.permissions import PERMISSIONS
from clipsearch.serving.security.tokens import Grants, Scope
from search_service.settings import SearchSettings
from tests.fuzz.rpcs import SEARCH, methods, path
from tests.soak.share import limit, share_of
from tests.soak.tenant_guesses import ACME, BETA, FIELD, REQUESTS
from tests.soak.tenants import Attack, Tokens
from tests.unit.clipsearch.serving.served import TokenMaker
from tests.unit.search_service.served import FakeEncoder, serving


def test_every_rpc_that_is_open_to_tenants_is_called():
    assert set(REQUESTS) == {name for m in methods(SEARCH) if PERMISSIONS[name := path(m)].tenants}


@limit
async def test_a_tenant_cannot_tell_that_there_are_others(tmp_path):
    made = TokenMaker(tmp_path / "tokens")
    scopes = [Scope.SEARCH, Scope.WRITE]
    acme, beta = (made.add(v, *scopes, tenant={"field": FIELD, "value": v}) for v in (ACME, BETA))
    tokens = Tokens(acme, beta, made.add("operator", *Scope))
    encoder = FakeEncoder()
    await encoder.start()
    guard = Guard(Grants(made.path))
    async with serving(tmp_path / "data", encoder.address, SearchSettings(), guard=guard) as client:
        attack = Attack(client.channel, tokens, seed=7)
        await attack.prepare()
        for _ in range(share_of(10_000, least=300)):
            assert not (wrong := await attack.step()), wrong
        assert await attack.others_are_unchanged()
    await encoder.stop()
    done = {name for name, code in attack.statuses if code == "OK"}
    assert done == set(REQUESTS), attack.statuses
