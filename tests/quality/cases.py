"""The cases of the table: what is stored, what is asked, and which points are right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from tests.quality.captioned import Captioned

Asks = Literal["changed image", "paraphrase"]


@dataclass(frozen=True, slots=True)
class Collection:
    """By id, which image and which caption (their numbers in the set) a point has."""

    name: str
    images: dict[str, int]
    captions: dict[str, int]


@dataclass(frozen=True, slots=True)
class Case:
    """A row: with each number of the set, which collection is asked, and which ids are right.

    `alike`: query and answer are both images or both words.
    """

    name: str
    asks: Asks
    alike: bool
    collection: Callable[[int], str]
    right: Callable[[int], frozenset[str]]


class Plan:
    """The collections and the cases for a set. Points of one caption are right for each other's words."""

    def __init__(self, images: Sequence[Captioned]) -> None:
        all = range(len(images))
        same: dict[str, list[int]] = {}
        for number, captioned in enumerate(images):
            same.setdefault(captioned.caption, []).append(number)
        alike = [same[captioned.caption] for captioned in images]
        # In two halves, by caption: what is asked for in one stands beside the other's.
        order = {caption: place for place, caption in enumerate(same)}
        half = [order[captioned.caption] % 2 for captioned in images]

        def point(number: int) -> str:
            return images[number].id

        def image(number: int) -> str:
            return f"{images[number].id} (image)"

        def caption(number: int) -> str:
            return f"{images[number].id} (caption)"

        every_image = {image(n): n for n in all}
        every_caption = {caption(n): n for n in all}
        self.collections = [
            Collection("both", {point(n): n for n in all}, {point(n): n for n in all}),
            Collection("apart", every_image, every_caption),
            *(
                Collection(
                    f"captions-of-others-{h}", every_image, {caption(n): n for n in all if half[n] != h}
                )
                for h in (0, 1)
            ),
            *(
                Collection(f"images-of-others-{h}", {image(n): n for n in all if half[n] != h}, every_caption)
                for h in (0, 1)
            ),
        ]
        self.cases = [
            Case(
                "both vectors; a changed image",
                "changed image",
                True,
                lambda n: "both",
                lambda n: frozenset({point(n)}),
            ),
            Case(
                "both vectors; a paraphrase",
                "paraphrase",
                True,
                lambda n: "both",
                lambda n: frozenset(map(point, alike[n])),
            ),
            Case(
                "apart; a paraphrase, caption or image",
                "paraphrase",
                True,
                lambda n: "apart",
                lambda n: frozenset([*map(caption, alike[n]), *map(image, alike[n])]),
            ),
            Case(
                "apart; a changed image, its image",
                "changed image",
                True,
                lambda n: "apart",
                lambda n: frozenset({image(n)}),
            ),
            Case(
                "apart; words, their image among others' captions",
                "paraphrase",
                False,
                lambda n: f"captions-of-others-{half[n]}",
                lambda n: frozenset(map(image, alike[n])),
            ),
            Case(
                "apart; a changed image, its caption among others' images",
                "changed image",
                False,
                lambda n: f"images-of-others-{half[n]}",
                lambda n: frozenset({caption(n)}),
            ),
        ]
