"""A tenant tries to find out about others, call by call, and must not be able to tell that they are there.

Two collections hold the same points of the tenant; in one of them there are those of others too. Every call
is made of both, and both must answer alike, to the letter. Scores that are scaled by all that a collection
holds are the exception: there the hits must be the tenant's. Nothing of the others may stand in any answer.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf import json_format
from google.protobuf.message import Message
from grpc_status import rpc_status

from clipsearch.search.v1 import collection_pb2, search_pb2
from tests.fuzz.rpcs import by_path, response_class
from tests.soak.tenant_guesses import ACME, BETA, COLLECTIONS, FIELD, REQUESTS, SEARCH, Guesses
from tests.unit.search_service.served import point

MIXED, ALONE = "mixed", "alone"
FOREIGN = re.compile(r"zqx[\w-]*")  # stands in all that is the others': ids, fields and values
_INDEXES = {"brand": "KEYWORD", "price": "FLOAT", FIELD: "KEYWORD"}


@dataclass(frozen=True)
class Tokens:
    """Of the tenant, of another, and of somebody who is restricted to none."""

    acme: str
    beta: str
    operator: str


class Attack:
    """The calls of one run, of a random generator with a seed."""

    def __init__(self, channel: grpc.aio.Channel, tokens: Tokens, seed: int) -> None:
        self.statuses = Counter[tuple[str, str]]()
        """By RPC and status, how often it was called."""
        self._channel = channel
        self._tokens = tokens
        self._guesses = Guesses(seed)
        self._random = self._guesses.random
        self._others: dict[str, Any] = {}
        self._taken: set[str] = set()  # ids of others that the tenant has used for points of its own

    async def prepare(self) -> None:
        """Fills both collections."""
        indexes = [
            collection_pb2.PayloadIndex(field=key, type=f"PAYLOAD_INDEX_TYPE_{type}")
            for key, type in _INDEXES.items()
        ]
        shared = {FIELD: [ACME, "partner"]}
        own = [self._own(f"acme/a-{n}") for n in range(12)] + [self._own(f"old-{n}") for n in range(3)]
        own += [self._own(f"shared-{n}", **shared) for n in range(3)]
        for name in (MIXED, ALONE):
            create = collection_pb2.CreateCollectionRequest(name=name, payload_indexes=indexes)
            await self._must(COLLECTIONS + "CreateCollection", create, self._tokens.operator)
            await self._upsert(self._tokens.operator, name, own)
        strays = [self._foreign(id) for id in ("acme/stray", "old-stray", *(f"zqx-{n}" for n in range(9)))]
        await self._upsert(self._tokens.operator, MIXED, strays)
        await self._upsert(self._tokens.beta, MIXED, [self._foreign(f"zqx-b-{n}", BETA) for n in range(9)])
        self._others = await self._all_others()

    async def step(self) -> str:
        """One call of the tenant's, of both collections; now and then another writes before it.

        Returns what is wrong, "" = nothing.
        """
        if self._random.random() < 0.03:
            await self._another_writes()
        name = self._random.choice(list(REQUESTS))
        request = self._guesses.request(name)
        answers = []
        for collection in (MIXED, ALONE):
            _name_collection(request, collection)
            answers.append(await self._ask(name, request, self._tokens.acme))
        self.statuses[name, answers[0][0]] += 1
        mixed, alone = (_said(code, answer) for code, answer in answers)
        asked = json_format.MessageToJson(request)
        if isinstance(request, search_pb2.UpsertRequest):
            self._taken |= {word for one in request.points for word in FOREIGN.findall(one.id)}
        if told := set(FOREIGN.findall(mixed)) - set(FOREIGN.findall(asked)) - self._taken:
            return f"{name} tells of {told}\n{asked}\n{mixed}"
        if _is_scaled(request) and all(code == "OK" for code, _ in answers):
            if told := _hits(answers[0][1]) - await self._own_ids():
                return f"{name} finds {told}\n{asked}\n{mixed}"
        elif mixed != alone:
            return f"{name} answers\n{mixed}\nand alone\n{alone}\nto\n{asked}"
        if isinstance(answers[0][1], search_pb2.ListPointsResponse):
            self._guesses.cursors += filter(None, [answers[0][1].next_page_token])
        return ""

    async def others_are_unchanged(self) -> bool:
        """Whether the others' points are as others wrote them."""
        return await self._all_others() == self._others

    def _own(self, id: str, **more: Any) -> search_pb2.Point:
        vectors = {name: self._guesses.vector() for name in ("image_vector", "text_vector")}
        return point(id, {**self._guesses.payload(), FIELD: ACME, **more}, **vectors)

    def _foreign(self, id: str, shop: str = "") -> search_pb2.Point:
        """One whose fields are of other types, or have names of their own."""
        payload: dict[str, Any] = {
            "brand": "zqx-brand",
            "price": 50,
            "level": "zqx-level",
            "zqx_field": "zqx",
            "parts": [{"kind": "zqx-word", "size": "zqx"}, {"kind": "red", "size": 30}],
        }
        if not shop:
            whose = [{}, {FIELD: ["zqx-gamma", BETA]}, {FIELD: {"a": ACME}}, {FIELD: "Acme"}, {FIELD: BETA}]
            payload |= self._random.choice(whose)
        kinds = [("image_vector",), ("text_vector",), ("image_vector", "text_vector")]
        return point(id, payload, **{name: self._guesses.vector() for name in self._random.choice(kinds)})

    async def _another_writes(self) -> None:
        id = f"zqx-b-{self._random.randint(0, 20)}"
        if self._random.random() < 0.7:
            await self._upsert(self._tokens.beta, MIXED, [self._foreign(id, BETA)])
        else:
            gone = search_pb2.DeletePointsRequest(collection=MIXED, ids=search_pb2.PointIds(ids=[id]))
            await self._must(SEARCH + "DeletePoints", gone, self._tokens.beta)
        self._others = await self._all_others()

    async def _all_others(self) -> dict[str, Any]:
        """All points but the tenant's own; those that it shares are among them."""
        listed = search_pb2.ListPointsRequest(collection=MIXED, page_size=1000, with_vectors=True)
        answer = await self._must(SEARCH + "ListPoints", listed, self._tokens.operator)
        assert not answer.next_page_token
        found = {one.id: json_format.MessageToDict(one) for one in answer.points}
        return {id: one for id, one in found.items() if one["payload"].get(FIELD) != ACME}

    async def _own_ids(self) -> set[str]:
        listed = search_pb2.ListPointsRequest(collection=ALONE, page_size=1000)
        return {one.id for one in (await self._must(SEARCH + "ListPoints", listed, self._tokens.acme)).points}

    async def _upsert(self, token: str, collection: str, points: list[search_pb2.Point]) -> None:
        request = search_pb2.UpsertRequest(collection=collection, points=points)
        answer = await self._must(SEARCH + "Upsert", request, token)
        assert not any(result.status.code for result in answer.results), answer

    async def _must(self, name: str, request: Message, token: str) -> Any:
        code, answer = await self._ask(name, request, token)
        assert code == "OK", (name, answer)
        return answer

    async def _ask(self, name: str, request: Message, token: str) -> tuple[str, Any]:
        """The status, and the answer or the error with its details."""
        call = self._channel.unary_unary(
            name,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response_class(by_path(name)).FromString,
        )
        metadata = [("authorization", f"Bearer {token}"), ("x-request-id", "x")]
        try:
            return "OK", await call(request, metadata=metadata, timeout=30)
        except grpc.aio.AioRpcError as error:
            return error.code().name, rpc_status.from_call(error)


def _name_collection(request: Any, collection: str) -> None:
    names = [one.name for one in request.DESCRIPTOR.fields]
    if "search" in names:
        request.search.collection = collection
    if "searches" in names:
        for search in request.searches:
            search.collection = collection
    for name in {"collection", "name"} & set(names):
        setattr(request, name, collection)


def _said(code: str, answer: Any) -> str:
    """The whole answer, but for the time that it took and the collection's name."""
    if isinstance(answer, collection_pb2.ListCollectionsResponse):
        infos = [json_format.MessageToDict(one) | {"name": "c"} for one in answer.collections]
        return f"{code} {infos[0]}" if infos[0] == infos[1] else f"{code} {infos}"
    for one in (answer, *getattr(answer, "results", ()), getattr(answer, "search", answer)):
        if "timings" in one.DESCRIPTOR.fields_by_name:
            one.ClearField("timings")
    said = json_format.MessageToJson(answer, always_print_fields_with_no_presence=True)
    return f"{code} {said.replace(MIXED, 'c').replace(ALONE, 'c')}"


def _is_scaled(request: Any) -> bool:
    """Whether scores depend on how all that is in the collection is spread, or points come at random."""
    if isinstance(request, search_pb2.ListPointsRequest):
        return request.sample != search_pb2.SAMPLE_UNSPECIFIED
    searches = getattr(request, "searches", [getattr(request, "search", request)])
    return isinstance(searches[0], search_pb2.SearchRequest) and any(
        len(one.query) > 1
        or one.only_matches
        or (one.target == search_pb2.TARGET_ANY and one.fusion == search_pb2.FUSION_CALIBRATED)
        for one in searches
    )


def _hits(answer: Any) -> set[str]:
    lists = [*getattr(answer, "results", ()), *getattr(answer, "groups", ())] or [answer]
    return {hit.id for one in lists for hit in (*getattr(one, "hits", ()), *getattr(one, "points", ()))}
