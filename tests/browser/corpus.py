"""What the browser tests search: photographs with payload, texts, hostile names, enough points to page."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from clipsearch import Client, Point

PHOTOS, HOSTILE, MANY = "photos", "hostile", "many"
MARKUP_NAME = "<img src=x onerror=alert(1)>.png"
OVERRIDE_NAME = "cat\u202egnp.exe.png"  # shows as "catgnp.exe.png" read backwards from the override on
LONG_WORD = "verylong" * 90
MARKUP_TEXT = "</title></script><script>alert(5)</script> & <b>bold</b>"
TEXTS = (
    "a recipe for black coffee",
    "how to repair a motorcycle's chain",
    "a short history of rockets",
    "rain in the afternoon, then sun",
)


def fill(client: Client, photographs: Sequence[Path], folder: Path) -> None:
    """Makes the collections; copies with hostile names go into `folder`."""
    _photos(client, photographs)
    _hostile(client, {path.name: path for path in photographs}, folder)
    client.create_collection(MANY)
    _write(
        client,
        MANY,
        [Point(f"n{i}", text=f"note number {i}", payload={"text": f"note number {i}"}) for i in range(60)],
    )


def _photos(client: Client, photographs: Sequence[Path]) -> None:
    indexes = {
        "kind": "keyword",
        "size": "integer",
        "ratio": "float",
        "colour": "bool",
        "taken": "datetime",
        "note": "text",
    }
    client.create_collection(PHOTOS, payload_indexes=indexes, bm25_field="note")
    points = []
    for i, path in enumerate(photographs):
        with Image.open(path) as image:
            ratio, colour = round(image.width / image.height, 2), image.mode != "L"
        payload = {
            "path": str(path),
            "kind": path.suffix[1:],
            "size": path.stat().st_size,
            "ratio": ratio,
            "colour": colour,
            "taken": f"{2001 + i}-05-01T12:00:00Z",
            "note": f"a sample photograph, number {i}",
        }
        points.append(Point(path.name, image=path, payload=payload))
    points += [
        Point(f"text-{i}", text=text, payload={"text": text, "kind": "note"}) for i, text in enumerate(TEXTS)
    ]
    _write(client, PHOTOS, points)


def _hostile(client: Client, photographs: dict[str, Path], folder: Path) -> None:
    client.create_collection(HOSTILE, payload_indexes={"tag": "keyword"})
    cat, coffee = folder / MARKUP_NAME, folder / OVERRIDE_NAME
    shutil.copy(photographs["chelsea.png"], cat)
    shutil.copy(photographs["coffee.png"], coffee)
    payload = {
        "path": str(cat),
        "tag": '"><script>alert(2)</script>',
        "<script>alert(3)</script>": "javascript:alert(4)",
        "long": LONG_WORD,
        "nested": {"<b>": ["<i onmouseover=alert(7)>", None, 1.5]},
    }
    points = [
        Point("'\"><svg onload=alert(6)>", image=cat, payload=payload),
        Point("override", image=coffee, payload={"path": str(coffee), "tag": "\u202eevil"}),
        Point("markup", text="a cat", payload={"text": MARKUP_TEXT, "tag": LONG_WORD}),
        Point(LONG_WORD[:400], text="a long word", payload={"title": LONG_WORD}),
    ]
    _write(client, HOSTILE, points)


def _write(client: Client, collection: str, points: Sequence[Point]) -> None:
    for result in client.upsert(collection, points):
        assert result.error is None, result
