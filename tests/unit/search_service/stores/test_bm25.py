"""Words of queries."""

from __future__ import annotations

from search_service.stores import bm25


def test_a_query_is_cut_into_words_once_however_many_hits_there_are(monkeypatch):
    asked: list[str] = []
    model = bm25._model()

    class Counting:
        def embed_query(self, words: str) -> object:
            asked.append(words)
            return model.embed_query(words)

    document = bm25.document({"title": "a blue kettle"}, "title")
    monkeypatch.setattr(bm25, "_model", Counting)
    shares = {bm25.share("blue teapot of 1912", document.indices) for _ in range(500)}
    assert shares == {1 / 3}
    assert len(asked) <= 1
