"""The demo's map: its photographs beside twenty words, in one space."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clipsearch.client.inputs import Point

if TYPE_CHECKING:
    from clipsearch.client.sync import Client, EncoderClient
    from clipsearch.map.build import SpaceMap

COLLECTION = "words-and-photographs"
FIELD = "subject"
SUBJECTS = {
    "astronaut.png": "an astronaut",
    "brick.png": "bricks",
    "camera.png": "a camera",
    "chelsea.png": "a cat",
    "china.jpg": "a temple",
    "coffee.png": "a cup of coffee",
    "coins.png": "coins",
    "flower.jpg": "a flower",
    "grass.png": "grass",
    "gravel.png": "gravel",
    "hubble_deep_field.jpg": "galaxies",
    "ihc.png": "stained tissue",
    "moon.png": "the moon",
    "motorcycle_left.png": "a motorcycle",
    "motorcycle_right.png": "a motorcycle",
    "page.png": "a page of text",
    "retina.jpg": "a retina",
    "rocket.jpg": "a rocket",
}
"""What each sample photograph shows."""

OTHER_WORDS = ("a horse", "a pizza", "a guitar")


def draw_samples(client: Client, encoder: EncoderClient, photographs: Path, out: Path) -> SpaceMap:
    """Draws the sample photographs with twenty words into the folder `out`. Raises ClipSearchError."""
    from clipsearch.cli.map import draw

    client.create_collection(COLLECTION, payload_indexes={FIELD: "keyword"})
    _write(client, [_photograph(photographs / name, subject) for name, subject in SUBJECTS.items()])
    words = dict.fromkeys([*SUBJECTS.values(), *OTHER_WORDS])
    _write(client, [Point(f"word: {word}", text=word, payload={"text": word, FIELD: word}) for word in words])
    return draw(client, encoder, COLLECTION, out, queries=["a pet", "a fast vehicle"])


def _photograph(path: Path, subject: str) -> Point:
    payload = {"path": str(path), "name": path.name, FIELD: subject}
    return Point(path.name, image=path, payload=payload)


def _write(client: Client, points: Sequence[Point]) -> None:
    for result in client.upsert(COLLECTION, points):
        if result.error is not None:
            raise result.error.about(result.id)
