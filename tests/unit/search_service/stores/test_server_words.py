"""Words on a server follow payloads that others change, or delete, in the same moment."""

from __future__ import annotations

from qdrant_client import models

from search_service.stores.bm25 import document
from search_service.stores.qdrant.store import QdrantServer
from tests.local_qdrant import LocalQdrant


class Server(QdrantServer):
    """Points with titles; `meanwhile` runs once, before the first words are written."""

    def __init__(self, meanwhile) -> None:
        super().__init__(LocalQdrant())
        self.titles = {"1": "new", "2": "new"}
        self.words: dict[str, models.SparseVector] = {}
        self.meanwhile = meanwhile

    async def _retrieve(self, *_) -> list[models.Record]:
        return [models.Record(id=id, payload={"title": title}) for id, title in self.titles.items()]

    async def _send(self, _, operations, **__) -> bool:
        for operation in operations:
            if isinstance(operation, models.UpdateVectorsOperation):
                meanwhile, self.meanwhile = self.meanwhile, lambda titles: None
                meanwhile(self.titles)
                for point in operation.update_vectors.points:
                    if point.id not in self.titles:
                        return False
                    self.words[point.id] = point.vector["bm25"]
        return True

    async def change(self) -> dict[str, list[int]]:
        await self._keep_words("shop", list(self.titles), "title")
        return {id: self.words[id].indices for id in self.titles}


def indices(title: str) -> list[int]:
    return document({"title": title}, "title").indices


async def test_the_words_are_those_of_whoever_was_last():
    server = Server(lambda titles: titles.update({"1": "newer"}))
    assert await server.change() == {"1": indices("newer"), "2": indices("new")}


async def test_a_point_that_is_gone_keeps_no_other_from_its_words():
    server = Server(lambda titles: titles.pop("1"))
    assert await server.change() == {"2": indices("new")}
