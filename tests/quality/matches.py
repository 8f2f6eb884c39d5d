"""Searches for matches alone, on the demo's photographs: what is shown is found, and nothing for the rest."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipsearch import Client, Point
from clipsearch.downloads.samples import write_samples

COLLECTION = "photographs"

# What `make demo` asks for, and the same in a word.
SHOWN = {
    "a cat": {"chelsea"},
    "a cup of coffee": {"coffee"},
    "a motorcycle": {"motorcycle_left", "motorcycle_right"},
    "a flower": {"flower"},
    "a rocket": {"rocket"},
    "cat": {"chelsea"},
    "coffee": {"coffee"},
    "motorcycle": {"motorcycle_left", "motorcycle_right"},
    "flower": {"flower"},
    "rocket": {"rocket"},
}
# Of none of them is there a photograph.
_ABSENT = """
    aeroplane banana bathtub bicycle bus dog elephant fish fork giraffe guitar helicopter horse laptop
    lighthouse lion owl penguin piano pizza shark sheep ship snake sofa strawberry tractor train truck
    umbrella violin wedding zebra
"""
# The share of them that must find nothing: a score of 0 is what the unrelated find at best in the middle, and
# the starter model takes a lion for something of a cat.
EMPTY = 0.4


@dataclass(frozen=True, slots=True)
class Matches:
    """By what was asked, the photographs that were found, by their stems."""

    shown: Mapping[str, Sequence[str]]
    absent: Mapping[str, Sequence[str]]

    def lost(self) -> dict[str, list[str]]:
        """What is shown and was not found."""
        missing = {words: sorted(SHOWN[words] - set(found)) for words, found in self.shown.items()}
        return {words: stems for words, stems in missing.items() if stems}

    @property
    def empty(self) -> float:
        """The share of the words without a photograph that found none."""
        return sum(not found for found in self.absent.values()) / len(self.absent)

    def met(self) -> bool:
        """Whether the bounds hold."""
        return not self.lost() and self.empty >= EMPTY

    def document(self) -> dict[str, Any]:
        """For build/quality.json."""
        found = {words: list(stems) for words, stems in self.absent.items() if stems}
        return {"lost": self.lost(), "empty": round(self.empty, 4), "least": EMPTY, "found": found}

    def told(self) -> str:
        """In words."""
        asked = len(self.shown)
        lines = [
            f"only matches: {asked - len(self.lost())} of {asked} words kept their photographs, "
            f"{self.empty:.3f} of {len(self.absent)} without one found nothing (at least {EMPTY})"
        ]
        lines += [f"  {words}: lost {', '.join(stems)}" for words, stems in self.lost().items()]
        lines += [f"  {words}: found {', '.join(stems)}" for words, stems in self.absent.items() if stems]
        return "\n".join(lines)


def ask(client: Client) -> Matches:
    """Indexes the photographs and asks for each of the words."""
    client.create_collection(COLLECTION)
    with tempfile.TemporaryDirectory() as folder:
        points = [Point(id=path.stem, image=path) for path in write_samples(Path(folder))]
        for result in client.upsert(COLLECTION, points):
            if result.error is not None:
                raise result.error

    def found(words: str) -> list[str]:
        return [hit.id for hit in client.search(COLLECTION, words, only_matches=True)]

    absent = {word: found(f"{'an' if word[0] in 'aeiou' else 'a'} {word}") for word in _ABSENT.split()}
    return Matches({words: found(words) for words in SHOWN}, absent)
