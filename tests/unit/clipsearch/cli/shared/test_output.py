"""What the commands print of a point."""

from __future__ import annotations

from clipsearch.cli.shared.output import describe


def test_a_payload_is_one_line_of_its_fields_long_ones_cut():
    payload = {"text": "a\n  mug", "note": "x" * 200, "content_hash": "ab"}
    assert describe(payload) == f"text=a mug, note={'x' * 119}…"
