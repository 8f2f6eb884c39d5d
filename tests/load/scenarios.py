"""What is sent: a request for each number, no two alike, and what its answer tells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from clipsearch.client import requests
from clipsearch.client.inputs import Point
from tests.bench.encoder.corpus import query
from tests.load.pictures import picture

CATEGORIES = 10
POINTS_AN_UPSERT = 4
# Ingest writes these ids again and again, so that a run does not grow the collection.
INGEST_IDS = 2000


@dataclass(frozen=True, slots=True)
class Scenario:
    """`build` makes the request of a number for the method of the SearchService stub."""

    name: str
    title: str
    method: str
    p99_bound_ms: float  # beyond it a rate does not count as borne
    build: Callable[[int], Any]


def scenarios(collection: str, points: int, bases: list[bytes]) -> dict[str, Scenario]:
    """All of them, by name. `bases` are images, see `tests.load.pictures`."""

    def text(number: int) -> Any:
        return requests.search(collection, text=query(number), target="image")

    def image(number: int) -> Any:
        return requests.search(collection, image=picture(bases, number), target="image")

    def mixed(number: int) -> Any:
        """Six of ten words in a category, two in a range of prices, one an image, one a stored point."""
        kind, category = number % 10, [f"category=c{number // 10 % CATEGORIES}"]
        if kind < 6:
            return requests.search(collection, text=query(number), filter=category)
        if kind < 8:
            lowest = number // 10 % 80
            prices = [f"price>={lowest}", f"price<{lowest + 20}"]
            return requests.search(collection, text=query(number), filter=prices)
        if kind == 8:
            return requests.search(collection, image=picture(bases, number), filter=category)
        return requests.search(collection, point_id=point_id(number % points), filter=category)

    def ingest(number: int) -> Any:
        first = number * POINTS_AN_UPSERT
        return requests.upsert(
            collection,
            [
                Point(
                    f"ingest-{(first + i) % INGEST_IDS}",
                    image=picture(bases, first + i),
                    payload=payload(first + i),
                )
                for i in range(POINTS_AN_UPSERT)
            ],
        )

    made = [
        Scenario("text", "text search", "Search", 200.0, text),
        Scenario("image", "image search", "Search", 500.0, image),
        Scenario("mixed", "mixed search with filters", "Search", 500.0, mixed),
        Scenario("ingest", f"ingest, {POINTS_AN_UPSERT} images a call", "Upsert", 1000.0, ingest),
    ]
    return {scenario.name: scenario for scenario in made}


def point_id(number: int) -> str:
    """The id of a point of the filled collection."""
    return f"point-{number}"


def payload(number: int) -> dict[str, Any]:
    """The payload of the point of this number."""
    return {"category": f"c{number % CATEGORIES}", "price": float(number % 100), "name": query(number)}


def problem(response: Any) -> str:
    """What is wrong with an answer that came without an error; "" = nothing."""
    if hasattr(response, "results"):
        failed = [result for result in response.results if result.status.code]
        return "POINT_REFUSED" if failed else ""
    return "" if response.hits else "NO_HITS"


def parts_ms(response: Any) -> dict[str, float]:
    """Where the service says that the time went: waiting for the encoder, and for the store."""
    if not hasattr(response, "timings"):
        return {}
    return {"encode": response.timings.encode_ms, "store": response.timings.store_ms}
