"""Hybrid searches: what of a query is looked up as words, and how that ranking joins the vectors'.

By weighted reciprocal rank fusion, in which a list counts by ranks alone. Ranks do not tell that somebody
asks for a part's number, of which vectors know nothing, or paraphrases, where words that many points have
lead astray. How much of the query a point has does tell: its share of the words goes with the weight of its
rank. Of 450 names with part numbers ("bomb, part JD-9117") by the starter model's texts, R@1 / R@10:

                               numbers         names           keywords that the name has not
    vectors                    .684 / .900     .982 / 1.000    .253 / .673
    words                      1.000 / 1.000   1.000 / 1.000   .029 / .036
    ranks alone, k = 60        .951 / 1.000    .998 / 1.000    .133 / .638
    with shares, k = 60        .993 / 1.000    .998 / 1.000    .136 / .647
    with shares, k = 2         .989 / 1.000    .998 / 1.000    .247 / .656
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from clipsearch.serving.errors import FailedPrecondition, InvalidArgument
from search_service.query.queries import FUSION_DEPTH, Hit, Query, TextTerm
from search_service.query.ranking import Ranked, without_stored_terms
from search_service.stores.collection import CollectionSpec
from search_service.stores.protocol import ScoredPoint, WordsQuery

_K = 2
_MOST_BYTES = 64 * 1024  # of a text; no encoder bounds those that are only looked up


def check_words(query: Query, spec: CollectionSpec) -> None:
    """Raises InvalidArgument and FailedPrecondition where words are wanted that cannot be looked up."""
    if not query.by_words:
        return
    field = "hybrid" if query.hybrid else "target"
    for index, term in enumerate(query.terms):
        if not isinstance(term.what, TextTerm):
            if query.target == "words":
                raise InvalidArgument(f"query[{index}]", "target words looks up words; only texts have any")
        elif (size := len(term.what.text.encode())) > _MOST_BYTES:
            raise InvalidArgument(
                f"query[{index}].text", f"{size} bytes, the limit is {_MOST_BYTES}", "TEXT_TOO_LARGE"
            )
    if query.mmr is not None:
        raise InvalidArgument("mmr", f"set together with {field}; ranks by words tell no likenesses")
    if query.target == "words" and not query.by_cosine:
        raise InvalidArgument("target", "words have neither strategy nor context")
    if not _words(query):
        raise InvalidArgument(
            field, "there is no text in the query, of positive weight, whose words could be looked up"
        )
    if not spec.bm25_field:
        raise FailedPrecondition(
            f"{field}: collection {spec.name!r} keeps no words to look up; bm25_field names the field "
            "that has them when a collection is created",
            "NO_BM25_FIELD",
            {"field": field, "collection": spec.name},
        )


def words_query(query: Query) -> WordsQuery:
    """The question for the points that have some of the query's words."""
    return WordsQuery(_words(query), FUSION_DEPTH, without_stored_terms(query) or None)


def with_words(query: Query, dense: Sequence[Hit], words: Sequence[ScoredPoint]) -> Ranked:
    """The page of hits that a query by words asks for, of the best that either ranking has.

    `dense` is the vectors' ranking, empty for target "words". Equal BM25 scores share a rank. Of equal scores
    the first are those of points with words: who is first by all of them stands before who is by vectors.
    """
    ranks = _ranks(words)
    found = {one.point.id: one for one in words}
    scores = {
        id: one.score if query.target == "words" else query.hybrid * one.share / (_K + ranks[id])
        for id, one in found.items()
    }
    hits = [_joined(hit, rank, found, ranks, scores) for rank, hit in enumerate(dense, start=1)]
    known = {hit.point.id for hit in dense}
    hits += [
        Hit(one.point, scores[id], "words", 0.0, words_rank=ranks[id], words_score=one.score)
        for id, one in found.items()
        if id not in known
    ]
    hits.sort(key=lambda hit: (-hit.score, not hit.words_rank, hit.point.id))
    if query.score_threshold is not None:
        hits = [hit for hit in hits if hit.score >= query.score_threshold]
    return Ranked(hits[query.offset : query.offset + query.limit], query.target != "words")


def _joined(
    hit: Hit, rank: int, found: dict[str, ScoredPoint], ranks: dict[str, int], shares: dict[str, float]
) -> Hit:
    id = hit.point.id
    own, by_words = 1 / (_K + rank), shares.get(id, 0.0)
    one_name = not hit.image_rank and not hit.text_rank
    return replace(
        hit,
        image_rank=rank if one_name and hit.matched == "image" else hit.image_rank,
        text_rank=rank if one_name and hit.matched == "text" else hit.text_rank,
        score=own + by_words,
        matched="words" if by_words > own else hit.matched,
        words_rank=ranks.get(id, 0),
        words_score=found[id].score if id in found else 0.0,
    )


def _ranks(words: Sequence[ScoredPoint]) -> dict[str, int]:
    places: dict[float, int] = {}
    for place, one in enumerate(sorted(words, key=lambda one: -one.score), start=1):
        places.setdefault(one.score, place)
    return {one.point.id: places[one.score] for one in words}


def _words(query: Query) -> str:
    """Those of all texts that do not push away."""
    texts = (term.what.text for term in query.terms if isinstance(term.what, TextTerm) and term.weight > 0)
    return "\n".join(texts).strip()
