"""The table of calls is the protos' services, and the clients' methods are the table."""

from __future__ import annotations

import inspect
from typing import get_args

import pytest

from clipsearch import AsyncClient, AsyncEncoderClient, Client, EncoderClient
from clipsearch.client import rpc
from clipsearch.encoder.v1 import encoder_pb2
from clipsearch.search.v1 import collection_pb2, search_pb2


def test_every_rpc_of_the_protos_is_in_the_table_and_known_by_its_request():
    protos = (search_pb2, collection_pb2, encoder_pb2)
    services = [one for proto in protos for one in proto.DESCRIPTOR.services_by_name.values()]
    kinds = [method.input_type for service in services for method in service.methods]
    calls = [call for call in vars(rpc).values() if isinstance(call, rpc.Rpc | rpc.BatchedRpc)]
    made = [inspect.signature(call.request, eval_str=True).return_annotation for call in calls]
    made = {(get_args(kind) or [kind])[0].DESCRIPTOR for kind in made}
    assert len(kinds) == len(made)
    assert set(kinds) == made


@pytest.mark.parametrize(
    ("blocking", "awaited"), [(Client, AsyncClient), (EncoderClient, AsyncEncoderClient)]
)
def test_both_clients_have_the_same_methods_that_notebooks_can_describe(blocking, awaited):
    public = {name for name in dir(blocking) if not name.startswith("_")}
    assert public == {name for name in dir(awaited) if not name.startswith("_")}
    for name in public:
        ours, theirs = getattr(blocking, name), getattr(awaited, name)
        mine, other = (inspect.signature(method).parameters.values() for method in (ours, theirs))
        assert [(one.name, one.kind) for one in mine] == [(one.name, one.kind) for one in other]
        assert ours.__name__ == theirs.__name__ == name
        assert ours.__qualname__.endswith(name)
        assert theirs.__qualname__.endswith(name)
        assert ours.__doc__
        assert theirs.__doc__
    assert str(inspect.signature(Client().count)).startswith("(collection: 'str', *, filter: 'FilterLike")


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize(
    "given", [{}, {"collection": "shop", "nonsense": 1}, {"collection": "shop", "filter": "price<"}]
)
async def test_what_is_wrong_with_a_list_of_points_is_told_before_the_first_is_asked_for(kind, given):
    with pytest.raises((TypeError, ValueError)):
        kind().list_points(**given)
