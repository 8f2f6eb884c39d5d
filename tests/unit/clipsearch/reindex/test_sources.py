"""From a stored point back to what it was made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipsearch.client.inputs import Point
from clipsearch.client.types import StoredPoint
from clipsearch.ingest import PictureFolder
from clipsearch.ingest.points import to_point
from clipsearch.reindex.sources import Fields, Lacking, source_of


def stored(*sides: str, **payload: object) -> StoredPoint:
    return StoredPoint("a", payload, has_image="image" in sides, has_text="text" in sides)


def test_sides_are_made_again_of_what_the_payload_leads_to(tmp_path: Path):
    path = tmp_path / "a.png"
    path.write_bytes(b"picture")
    payload = {"path": str(path), "text": "words", "n": 1}
    found = source_of(stored("image", "text", **payload), Fields())
    assert found == Point("a", image=b"picture", text="words", payload=payload)
    only_text = source_of(stored("text", **payload), Fields())
    assert isinstance(only_text, Point)
    assert only_text.image is None, "it had no picture before, though a path is there"


def test_fields_may_have_other_names_and_lie_deeper():
    found = source_of(stored("text", shop={"caption": "words"}), Fields(text="shop.caption"))
    assert isinstance(found, Point)
    assert found.text == "words"


@pytest.mark.parametrize(
    ("point", "kind", "reason"),
    [
        (stored("image"), "not re-encodable", "no path in its payload's field 'path'"),
        (stored("text", text=1), "not re-encodable", "no text in its payload's field 'text'"),
        (stored("image", "text", path="/a.png"), "not re-encodable", "no text in its payload's field 'text'"),
        (stored("image", "text", text="words"), "not re-encodable", "no path in its payload's field 'path'"),
        (stored("image", path=3), "not re-encodable", "no path in its payload's field 'path'"),
        (stored("image", path="/nowhere/a.png"), "failed", "/nowhere/a.png: No such file or directory"),
        (stored("image", path="\0"), "failed", "\0: image: '\\x00' cannot be a path (embedded null byte)"),
    ],
)
def test_what_leads_nowhere_or_to_half_a_point_is_told(point: StoredPoint, kind: str, reason: str):
    assert source_of(point, Fields()) == Lacking("a", kind, reason)  # type: ignore[arg-type]


def test_an_indexed_file_that_has_changed_is_not_taken_for_what_it_was(tmp_path: Path):
    path = tmp_path / "a.png"
    path.write_bytes(b"picture")
    (item,) = PictureFolder(tmp_path).items()
    indexed = to_point(item)
    point = StoredPoint(indexed.id, indexed.payload, has_image=True, has_text=False)
    assert isinstance(source_of(point, Fields()), Point)
    path.write_bytes(b"another")
    found = source_of(point, Fields())
    assert isinstance(found, Lacking)
    assert found.reason == f"{path}: the file has changed since it was indexed"
