"""What payloads add to scores."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from search_service.query.boosts import fields_of, sum_of
from search_service.query.queries import Boost, Nearer, Newer, Popular

NOW = datetime(2024, 6, 1, tzinfo=UTC)
DAY_S = 86_400.0
ULM = {"lat": 48.4, "lon": 9.99}
BY = {
    "newer": Newer("made", NOW, 7 * DAY_S),
    "nearer": Nearer("shop.at", ULM["lat"], ULM["lon"], 10_000),
    "popular": Popular("sold", 50),
}
# A payload and what its fields give, in the order of BY.
PAYLOADS = [
    ({"made": NOW.isoformat(), "shop": {"at": ULM}, "sold": 50}, (1, 1, 0.5)),
    ({"made": (NOW - timedelta(days=7)).isoformat(), "sold": 150}, (0.5, 0, 0.75)),
    ({"made": (NOW + timedelta(days=14)).isoformat(), "sold": 0}, (0.25, 0, 0)),
    ({"made": "2024-05-25", "sold": -50}, (0.5, 0, 0)),
    ({"made": "soon", "shop": {"at": "Ulm"}, "sold": "many"}, (0, 0, 0)),
    ({"made": 5, "shop": {"at": {"lat": 1}}, "sold": True}, (0, 0, 0)),
    ({"shop": {"at": {**ULM, "lat": 95.0}}}, (0, 0, 0)),
    ({"shop": {"at": {**ULM, "lon": -181.0}}}, (0, 0, 0)),
    ({"made": "2024-06-01T02:00:00+02:00", "sold": [50]}, (1, 0, 0.5)),
    ({"made": [NOW.isoformat()] * 2, "shop": {"at": [ULM, ULM]}, "sold": [1, 2]}, (0, 0, 0)),
    ({"made": None, "shop": [], "sold": None}, (0, 0, 0)),
    ({}, (0, 0, 0)),
    ({"sold": 1e308}, (0, 0, 1)),
    # 10 km north, 1 degree of latitude being 111.195 km
    ({"shop": {"at": {**ULM, "lat": ULM["lat"] + 10 / 111.195}}, "sold": 0.5}, (0, 0.5, 0.5 / 50.5)),
    ({"shop": {"at": {"lat": -ULM["lat"], "lon": ULM["lon"] - 180}}}, (0, 0, 0)),
]


@pytest.mark.parametrize("kind", BY)
@pytest.mark.parametrize(("payload", "given"), PAYLOADS)
def test_a_boost_is_what_the_payload_gives_and_0_where_that_is_of_another_type(kind, payload, given):
    for weight in (1.0, -2.0):
        expected = weight * given[list(BY).index(kind)]
        assert sum_of([Boost(weight, BY[kind])], payload) == pytest.approx(expected, abs=1e-4)


def test_several_boosts_add_up():
    boosts = [Boost(2, BY["newer"]), Boost(1, BY["nearer"]), Boost(-1, BY["popular"])]
    added = [sum_of(boosts, payload) for payload in (PAYLOADS[0][0], PAYLOADS[1][0], {})]
    assert added == pytest.approx([2.5, 0.25, 0], abs=1e-5)


def test_of_a_path_into_a_list_the_whole_list_is_asked_for():
    boosts = [
        Boost(1, Popular("sold[1]", 50)),
        Boost(1, Popular('"a.b".c', 50)),
        Boost(1, Popular("sold", 1)),
    ]
    assert fields_of(boosts).include == ("sold", '"a.b".c')
    assert sum_of(boosts[:1], {"sold": [1, 50]}) == 0.5
