"""What a collection must hold: every write that was acknowledged, and perhaps those that were not."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from clipsearch import Point

DIMENSION = 32
DELETED = 0  # as a version: there is no such point


def vector(id: str, version: int) -> np.ndarray:
    """The vector of one version of a point, of length 1."""
    numbers = np.random.default_rng(zlib.crc32(f"{id} {version}".encode())).normal(size=DIMENSION)
    return (numbers / np.linalg.norm(numbers)).astype(np.float32)


def point(id: str, version: int) -> Point:
    return Point(id, image_vector=vector(id, version), payload={"version": version})


@dataclass
class Model:
    """`acknowledged` and `pending` map an id to a version; a pending write may be done or not."""

    acknowledged: dict[str, int] = field(default_factory=dict)
    pending: dict[str, int] = field(default_factory=dict)
    writes: int = 0

    def attempt(self, versions: Mapping[str, int]) -> None:
        self.pending.update(versions)

    def acknowledge(self, versions: Mapping[str, int]) -> None:
        self.acknowledged.update(versions)
        self.writes += len(versions)
        for id in versions:
            del self.pending[id]

    def compare(self, found: Iterable[tuple[str, int]], count: int) -> Counter[str]:
        """What is wrong with what was found: pairs of id and version, and how many points the store counts.

        lost: acknowledged and not there. stale: an older version than the acknowledged one.
        resurrected: there although its deletion was acknowledged. invented: never written so.
        duplicated: listed or counted more than once.
        """
        wrong: Counter[str] = Counter()
        listed = list(found)
        there = dict(listed)
        wrong["duplicated"] = len(listed) - len(there) + max(0, count - len(there))
        wrong["lost"] = max(0, len(there) - count)
        for id in self.acknowledged.keys() | self.pending.keys() | there.keys():
            acknowledged, version = self.acknowledged.get(id, DELETED), there.get(id, DELETED)
            if version in (acknowledged, self.pending.get(id, acknowledged)):
                continue
            if version == DELETED:
                wrong["lost"] += 1
            elif acknowledged == DELETED and id in self.acknowledged:
                wrong["resurrected"] += 1
            else:
                wrong["stale" if version < acknowledged else "invented"] += 1
        return wrong
