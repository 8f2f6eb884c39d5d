"""What the benchmark stores and asks: vectors clustered like those of real photographs, and small payloads.

Measured on the starter model, 40 crops of each of the 18 sample photographs: cosine within a photograph
0.65 to 0.99 (5th to 95th percentile), between photographs -0.11 to 0.49, the common mean 0.40 long; of
what crops differ by, 1, 5, 20, 100 and 200 directions hold 9, 30, 63, 95 and 99.7 %.

So: a mixture of 400 directions around a common mean, with sizes by Zipf's law (the largest holds 15 %),
each with its own cosine within (0.65 to 0.97) and its own order of directions to vary in. Everything is
made from numbers, in blocks: the first 10,000 of 100,000 points are the 10,000, on every machine.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipsearch.client.inputs import IndexType

DIMENSION = 512
DIRECTIONS = 400
MEAN_LENGTH = 0.4
COSINE_WITHIN = (0.65, 0.97)
BLOCK = 10_000

SHOPS = 20
PRICES = 1000  # prices are 0 to 999
HALF_PRICE = PRICES // 2
INDEXES: dict[str, IndexType] = {"shop": "keyword", "price": "integer"}

Matrix = NDArray[np.float32]

_QUERIES = 1 << 32  # the block number of the queries: no block of points ever has it


@dataclass(frozen=True, slots=True)
class Block:
    """Points in a row: vectors, float32 [count, 512] of length 1, and for each its shop and its price."""

    first: int
    vectors: Matrix
    shops: NDArray[np.int64]
    prices: NDArray[np.int64]

    def ids(self) -> list[str]:
        """The ids, as a folder of photographs would give them."""
        return [point_id(number) for number in range(self.first, self.first + len(self.vectors))]

    def payload(self, place: int) -> dict[str, Any]:
        """The payload of one point: what a small shop keeps beside an image."""
        number = self.first + place
        return {
            "path": f"photos/{number // 1000:04}/{number:08}.jpg",
            "shop": shop_name(int(self.shops[place])),
            "price": int(self.prices[place]),
            "in_stock": number % 3 > 0,
        }


def point_id(number: int) -> str:
    """The id of a point."""
    return f"photo-{number:08}"


def point_number(id: str) -> int:
    """The number of the point of this id."""
    return int(id.removeprefix("photo-"))


def shop_name(shop: int) -> str:
    """The name of a shop."""
    return f"shop {shop:02}"


def blocks(count: int) -> Iterator[Block]:
    """The first `count` points."""
    for first in range(0, count, BLOCK):
        number = first // BLOCK
        size = min(BLOCK, count - first)
        rng = np.random.default_rng([1, number])
        shops, prices = rng.integers(SHOPS, size=BLOCK), rng.integers(PRICES, size=BLOCK)
        yield Block(first, _vectors(number)[:size], shops[:size], prices[:size])


def queries(count: int) -> Matrix:
    """Vectors to ask with, of the same mixture and in no collection: float32 [count, 512], at most 10,000."""
    return _vectors(_QUERIES)[:count]


def query_shop(number: int) -> int:
    """The shop that the filter of a query asks for."""
    return number % SHOPS


def filter(number: int) -> list[str]:
    """The filter of a query as the client takes it: it lets 2.5 % of the points through."""
    return [f"shop={shop_name(query_shop(number))}", f"price<{HALF_PRICE}"]


def allowed(number: int, shops: NDArray[np.int64], prices: NDArray[np.int64]) -> Any:
    """The same filter as a mask, bool [points]."""
    return (prices < HALF_PRICE) & (shops == query_shop(number))


def describe() -> dict[str, object]:
    """What the vectors are like: percentiles 5, 50 and 95 of the cosines in the first 2,000."""
    members, vectors = _members(np.random.default_rng([2, 0]))[:2000], _vectors(0)[:2000]
    cosines, same = vectors @ vectors.T, members[:, None] == members[None]

    def percentiles(pairs: NDArray[np.bool_]) -> list[float]:
        numbers: list[float] = np.percentile(cosines[np.triu(pairs, 1)], [5, 50, 95]).round(3).tolist()
        return numbers

    return {
        "generator": "tests/bench/search/corpus.py",
        "dimension": DIMENSION,
        "directions": DIRECTIONS,
        "cosines_within_a_direction": percentiles(same),
        "cosines_between_directions": percentiles(~same),
        "share_of_the_largest_direction": round(float(np.bincount(members).max() / len(members)), 3),
    }


@functools.lru_cache(10)
def _vectors(number: int) -> Matrix:
    """A block of vectors; another number, other vectors."""
    directions, spreads = _mixture()
    rng = np.random.default_rng([2, number])
    members = _members(rng)
    noise = rng.standard_normal((BLOCK, DIMENSION), dtype=np.float32)
    return _unit(directions[members] + spreads[members] * noise)


def _members(rng: np.random.Generator) -> NDArray[np.int64]:
    """The direction of each point of a block."""
    sizes = 1 / np.arange(1, DIRECTIONS + 1)
    return rng.choice(DIRECTIONS, BLOCK, p=sizes / sizes.sum())


@functools.cache
def _mixture() -> tuple[Matrix, Matrix]:
    """The directions, and how far their points spread along each axis; both [400, 512]."""
    rng = np.random.default_rng(0)
    # Of the variance, the first n axes hold about 1 - (30 / (n + 30)) ** 2, as measured.
    variances = (np.arange(DIMENSION) + 30.0) ** -3
    scales = np.sqrt(variances / variances.sum())
    mean = rng.standard_normal(DIMENSION)
    apart = _unit(rng.standard_normal((DIRECTIONS, DIMENSION)) * rng.permutation(scales))
    directions = _unit(MEAN_LENGTH * _unit(mean) + np.sqrt(1 - MEAN_LENGTH**2) * apart)
    # Two vectors c + s * r, with c and r of length 1, have a cosine of about 1 / (1 + s ** 2).
    lengths = np.sqrt(1 / rng.uniform(*COSINE_WITHIN, (DIRECTIONS, 1)) - 1)
    spreads = lengths * np.stack([rng.permutation(scales) for _ in range(DIRECTIONS)])
    return directions, spreads.astype(np.float32)


def _unit(vectors: NDArray[Any]) -> Matrix:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: Matrix = (vectors / lengths).astype(np.float32)
    return unit
