"""What a tenant may send to find out about others: ids, filters, requests of all RPCs open to it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
from google.protobuf.message import Message

from clipsearch.encoder.v1 import vector_pb2
from clipsearch.search.v1 import collection_pb2, filter_pb2, search_pb2
from search_service.stores.protocol import point_uuid
from tests.unit.search_service.served import DIMENSION, point, term, unit

FIELD, ACME, BETA = "shop", "acme", "zqx-beta"
SEARCH, COLLECTIONS = "/clipsearch.search.v1.SearchService/", "/clipsearch.search.v1.CollectionService/"
_KEYS = ["brand", "price", "level", FIELD, FIELD, "zqx_field", f"{FIELD}.a", f"{FIELD}[]", "nothing"]
_WORDS = ["red", "blue", ACME, BETA, "zqx-word", "zqx-brand", "zqx-level", "partner", "Acme"]


class Guesses:
    """Makes them. `cursors`: page tokens that were given."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.cursors: list[str] = []

    def request(self, name: str) -> Message:
        """A request of the RPC, whose collections are still to be named."""
        return REQUESTS[name](self)

    def vector(self) -> np.ndarray:
        return unit(*(self.random.gauss(0, 1) for _ in range(DIMENSION)))

    def id(self) -> str:
        """Its own, new ones, and guesses at others'."""
        r, n = self.random, self.random.randint(0, 12)
        own = [*[f"a-{n}"] * 6, *[f"new-{n}"] * 3, *[f"../old-{n % 3}", f"../shared-{n % 3}"] * 2]
        others = [f"../zqx-{n}", f"zqx-{n}", f"../zqx-beta/zqx-b-{n}", "../old-stray", "../acme/stray"]
        odd = [f"../acme/a-{n}", f"acme/a-{n}", f"../../zqx-{n}", "../", "..", f"../{ACME}/../zqx-{n}"]
        return r.choice(own + others + odd)

    def ids(self) -> list[str]:
        return [self.id() for _ in range(self.random.randint(1, 6))]

    def filter(self, depth: int = 2) -> filter_pb2.Filter:
        made = filter_pb2.Filter()
        for clause in (made.must, made.should, made.must_not):
            for _ in range(self.random.choice([0, 0, 1, 1, 2])):
                clause.append(self._condition(depth))
        if self.random.random() < 0.15:
            made.min_should.conditions.extend(self._condition(depth) for _ in range(3))
            made.min_should.min_count = self.random.randint(1, 3)
        return made

    def _condition(self, depth: int) -> filter_pb2.Condition:
        r, key = self.random, self.random.choice(_KEYS)
        match r.randint(0, 10):
            case 0 if depth:
                return filter_pb2.Condition(filter=self.filter(depth - 1))
            case 1:
                return filter_pb2.Condition(is_empty=key)
            case 2:
                return filter_pb2.Condition(is_null=key)
            case 3:
                return filter_pb2.Condition(has_id=filter_pb2.HasId(ids=self.ids()))
            case 4:
                inner = [self._field(key) for key in self.random.sample(["kind", "size"], r.randint(1, 2))]
                nested = filter_pb2.NestedCondition(
                    key=r.choice(["parts", "parts", "parts", key]), filter=filter_pb2.Filter(must=inner)
                )
                return filter_pb2.Condition(nested=nested)
            case _:
                return self._field(key)

    def _field(self, key: str) -> filter_pb2.Condition:
        r = self.random
        match r.randint(0, 5):
            case 0:
                compared = {"range": filter_pb2.Range(gte=r.randint(0, 60))}
            case _:
                word, words = r.choice(_WORDS), filter_pb2.Keywords(values=r.sample(_WORDS, 2))
                match = r.choice(
                    [
                        *[{"keyword": word}] * 3,
                        {"integer": r.randint(0, 60)},
                        {"text": word},
                        {"any_keyword": words},
                        {"except_keyword": words},
                        {"except_keyword": filter_pb2.Keywords(values=[ACME])},
                    ]
                )
                compared = {"match": filter_pb2.Match(**match)}
        return filter_pb2.Condition(field=filter_pb2.FieldCondition(key=key, **compared))

    def payload(self) -> dict[str, Any]:
        r = self.random
        made: dict[str, Any] = {"brand": r.choice(["red", "blue"]), "price": r.randint(0, 9)}
        made |= r.choice([{}, {"level": r.randint(0, 3)}, {"nothing": None}, {"price": 1.5}])
        made |= r.choice([{}, {"parts": [self._part() for _ in range(2)]}])
        whose = [{FIELD: ACME}, {FIELD: BETA}, {FIELD: [ACME, BETA]}, {FIELD: None}]
        return made | r.choice([*[{}] * 6, *whose])

    def _part(self) -> dict[str, Any]:
        return {"kind": self.random.choice(["red", "blue"]), "size": self.random.randint(0, 60)}

    def selector(self) -> search_pb2.PayloadSelector | None:
        include = self.random.choice([[FIELD], ["price"], ["zqx_field", "brand"], [f"{FIELD}[]"]])
        return self.random.choice(
            [None, search_pb2.PayloadSelector(none=True), search_pb2.PayloadSelector(include=include)]
        )

    def vectors(self) -> dict[str, Any]:
        format = self.random.choice(vector_pb2.VectorFormat.values())
        return {"with_vectors": self.random.random() < 0.3, "vector_format": format}

    def search(self) -> search_pb2.SearchRequest:
        r = self.random
        terms = [
            lambda: term(r.choice(["words", "zqx-words", "other words"])),
            lambda: term(r.randbytes(4)),
            lambda: term(self.vector()),
            lambda: term(point_id=self.id()),
            lambda: term(point_id=self.id()),
        ]
        made = search_pb2.SearchRequest(
            query=[r.choice(terms)() for _ in range(r.choice([1, 1, 1, 2]))],
            target=r.choice([search_pb2.TARGET_IMAGE, search_pb2.TARGET_TEXT, search_pb2.TARGET_ANY]),
            fusion=r.choice([search_pb2.FUSION_RRF, search_pb2.FUSION_DBSF, search_pb2.FUSION_CALIBRATED]),
            filter=r.choice([None, self.filter()]),
            limit=r.choice([0, 1, 5, 100]),
            offset=r.choice([0, 0, 2]),
            params=search_pb2.SearchParams(exact=r.random() < 0.3),
            payload=self.selector(),
            **self.vectors(),
        )
        if r.random() < 0.2:
            made.score_threshold = r.choice([-1, 0, 0.02, 0.3])
        made.only_matches = r.random() < 0.15
        match r.randint(0, 9):
            case 0:
                made.strategy = r.choice([search_pb2.STRATEGY_BEST_SCORE, search_pb2.STRATEGY_SUM_SCORES])
            case 1:
                made.context.add(positive=r.choice(terms)(), negative=r.choice(terms)())
            case 2:
                made.mmr.diversity = 0.5
            case 3:
                made.boosts.add(popular=search_pb2.Popular(key=r.choice(_KEYS), scale=5))
        return made

    def groups(self) -> search_pb2.SearchGroupsRequest:
        search = self.search()
        search.offset = 0
        return search_pb2.SearchGroupsRequest(search=search, group_by=self.random.choice(_KEYS), group_size=2)

    def facet(self) -> search_pb2.FacetRequest:
        key, exact = self.random.choice([*_KEYS, "brand", FIELD]), self.random.random() < 0.5
        return search_pb2.FacetRequest(key=key, filter=self.random.choice([None, self.filter()]), exact=exact)

    def batch(self) -> search_pb2.SearchBatchRequest:
        searches = [self.search() for _ in range(self.random.randint(1, 3))]
        return search_pb2.SearchBatchRequest(searches=searches)

    def upsert(self) -> search_pb2.UpsertRequest:
        r, modes = self.random, search_pb2.UpdateMode.values()
        kinds = [
            lambda: {"image_vector": self.vector()},
            lambda: {"text_vector": self.vector()},
            lambda: {"text": f"words {r.random()}", "image": r.randbytes(8)},
        ]
        points = [point(id, self.payload(), **r.choice(kinds)()) for id in self.ids()]
        return search_pb2.UpsertRequest(points=points, update_mode=r.choice(modes), wait=r.random() < 0.9)

    def get(self) -> search_pb2.GetPointsRequest:
        return search_pb2.GetPointsRequest(ids=self.ids(), payload=self.selector(), **self.vectors())

    def count(self) -> search_pb2.CountPointsRequest:
        return search_pb2.CountPointsRequest(filter=self.filter())

    def page(self) -> search_pb2.ListPointsRequest:
        r = self.random
        tokens = ["", point_uuid(f"zqx-{r.randint(0, 9)}"), point_uuid(self.id()), *self.cursors[-5:]]
        order = search_pb2.OrderBy(key=r.choice(["price", "price", "level"]), direction=r.randint(0, 2))
        how = r.choice([{}, {}, {"order_by": order}, {"sample": search_pb2.SAMPLE_RANDOM}])
        return search_pb2.ListPointsRequest(
            **how,
            filter=r.choice([None, self.filter()]),
            page_size=r.choice([0, 1, 3]),
            page_token=r.choice(tokens),
            payload=self.selector(),
            **self.vectors(),
        )

    def delete(self) -> search_pb2.DeletePointsRequest:
        return search_pb2.DeletePointsRequest(**self._some())

    def update(self) -> search_pb2.UpdatePayloadRequest:
        r, made = self.random, search_pb2.UpdatePayloadRequest(**self._some())
        made.set.update(self.payload())
        if r.random() < 0.3:
            made.overwrite = True
        elif r.random() < 0.4:
            made.delete.append(r.choice(["level", FIELD, f'"{FIELD}"', f"{FIELD}.a", "zqx_field"]))
        return made

    def _some(self) -> dict[str, Any]:
        if self.random.random() < 0.6:
            return {"ids": search_pb2.PointIds(ids=self.ids())}
        return {"filter": self.filter()}


REQUESTS: dict[str, Callable[[Guesses], Message]] = {
    SEARCH + "Search": Guesses.search,
    SEARCH + "SearchBatch": Guesses.batch,
    SEARCH + "SearchGroups": Guesses.groups,
    SEARCH + "Facet": Guesses.facet,
    SEARCH + "Upsert": Guesses.upsert,
    SEARCH + "GetPoints": Guesses.get,
    SEARCH + "CountPoints": Guesses.count,
    SEARCH + "ListPoints": Guesses.page,
    SEARCH + "DeletePoints": Guesses.delete,
    SEARCH + "UpdatePayload": Guesses.update,
    COLLECTIONS + "GetCollection": lambda guesses: collection_pb2.GetCollectionRequest(),
    COLLECTIONS + "ListCollections": lambda guesses: collection_pb2.ListCollectionsRequest(),
}
"""By RPC, what makes a request of it."""
