"""Words and meaning together: part numbers, of which vectors know nothing, and keywords that no title has.

A point's vector is of its name; its title, in which words are looked up, has a part number as well.
"""

from __future__ import annotations

import random
import string
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from clipsearch import AsyncClient, Client, Point
from clipsearch.batches import batched
from clipsearch.client.inputs import Search
from clipsearch.client.retrying import Retrying
from clipsearch.eval.ask import rankings
from tests.quality.measure import RETRY_S, TOP, WRITTEN, Encoded, Found, rank, share
from tests.quality.report import LOST_R1, LOST_R10, ROUNDING

COLLECTION = "goods"
WAYS: dict[str, Search] = {"vectors": {}, "words": {"target": "words"}, "hybrid": {"hybrid": True}}


@dataclass(frozen=True, slots=True)
class Hybrid:
    """By what was asked for, and by way of asking, what was found."""

    found: Mapping[str, Mapping[str, Found]]

    def broken(self) -> list[str]:
        """Where a hybrid search finds less than the better of its sides, and more than it may lose."""
        told = []
        for asked, ways in self.found.items():
            sides, both = (ways["vectors"], ways["words"]), ways["hybrid"]
            for name, figure, bound in (
                ("R@1", both.r1, max(side.r1 for side in sides) - LOST_R1),
                ("R@10", both.r10, max(side.r10 for side in sides) - LOST_R10),
            ):
                if figure < bound - ROUNDING:
                    told.append(f"{asked}: {name} {figure:.3f} < {bound:.3f}")
        return told

    def document(self) -> dict[str, Any]:
        """For build/quality.json."""
        cases = {
            asked: {way: asdict(found) for way, found in ways.items()} for asked, ways in self.found.items()
        }
        return {"cases": cases, "broken": self.broken()}

    def markdown(self) -> str:
        """R@1 / R@10, as the table of docs/quality.md."""
        lines = [f"| Asked | {' | '.join(WAYS)} |", "|---|" + "---|" * len(WAYS)]
        for asked, ways in self.found.items():
            cells = (f"{ways[way].r1:.3f} / {ways[way].r10:.3f}" for way in WAYS)
            lines.append(f"| {asked} | {' | '.join(cells)} |")
        return "\n".join([*lines, *(f"hybrid breaks {broken}" for broken in self.broken())])


def fill(client: Client, encoded: Encoded) -> list[str]:
    """Makes the collection; returns the part numbers."""
    numbers = _numbers(len(encoded.set))
    client.create_collection(COLLECTION, bm25_field="title")
    points = [
        Point(one.id, text_vector=vector, payload={"title": f"{one.caption}, part {number}"})
        for one, vector, number in zip(encoded.set, encoded.captions, numbers, strict=True)
    ]
    for part in batched(points, WRITTEN):
        for result in client.upsert(COLLECTION, part, fingerprint=encoded.fingerprint):
            if result.error is not None:
                raise result.error
    return numbers


async def ask(client: AsyncClient, encoded: Encoded, numbers: list[str]) -> Hybrid:
    """Asks for every point in each of the ways, by its number, its name and its keywords."""
    same: dict[str, set[str]] = {}
    for one in encoded.set:
        same.setdefault(one.caption, set()).add(one.id)
    alike = [frozenset(same[one.caption]) for one in encoded.set]
    asked = {
        "its number": (numbers, [frozenset({one.id}) for one in encoded.set]),
        "its name": ([one.caption for one in encoded.set], alike),
        "keywords that the name has not": (
            [one.paraphrase.removesuffix(f": {one.caption}") for one in encoded.set],
            alike,
        ),
    }
    calls, found = Retrying(RETRY_S), {}
    for name, (texts, right) in asked.items():
        ways = {}
        for way, options in WAYS.items():
            searches: list[Search] = [{**options, "text": text, "limit": TOP} for text in texts]
            ranked = await rankings(client, calls, COLLECTION, searches)
            ranks = [rank(ids, own) for ids, own in zip(ranked, right, strict=True)]
            ways[way] = Found(share(ranks, 1), share(ranks, TOP))
        found[name] = ways
    return Hybrid(found)


def _numbers(count: int) -> list[str]:
    made = random.Random(1)
    numbers: dict[str, None] = {}
    while len(numbers) < count:
        letters = "".join(made.choice(string.ascii_uppercase) for _ in range(2))
        numbers[f"{letters}-{made.randrange(1000, 10_000)}"] = None
    return list(numbers)
