"""Paths of payload fields, with names of any characters."""

from __future__ import annotations

import pytest

from clipsearch.filters.paths import quoted, values_at

PAYLOAD = {
    "price": 3,
    "unit price": 4,
    "a.b": 1,
    "a": {"b": 2, "x y": 5},
    "größe": 6,
    "tags": ["red", "new"],
    "shops": [{"city": "Riga"}, {"city": "Ventspils"}],
    "none": None,
}


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("price", [3]),
        ('"unit price"', [4]),
        ("unit price", [4]),
        ('"a.b"', [1]),
        ("a.b", [2]),
        ('a."x y"', [5]),
        ("größe", [6]),
        ("tags", ["red", "new"]),
        ("tags[]", ["red", "new"]),
        ("tags[1]", ["new"]),
        ("tags[7]", []),
        ("shops[].city", ["Riga", "Ventspils"]),
        ("shops[0].city", ["Riga"]),
        ("none", [None]),
        ("nothing", []),
        ("price.x", []),
    ],
)
def test_a_path_leads_to_its_values(path, values):
    assert values_at(PAYLOAD, path) == values


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("price", "price"),
        ("unit price", '"unit price"'),
        ("a.b", '"a.b"'),
        ('a"b', None),
        ("a\\b", None),
        ("", None),
    ],
)
def test_a_name_is_quoted_where_it_must_be(name, path):
    assert quoted(name) == path
