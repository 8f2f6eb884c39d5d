"""Payloads as people have them become what they mean, or are refused by key and type."""

from __future__ import annotations

import re
from collections import OrderedDict
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from pathlib import PurePosixPath
from uuid import UUID

import numpy as np
import pytest

from clipsearch.client.convert import f32, plain


class Colour(Enum):
    RED = "red"


class Size(IntEnum):
    L = 3


class Brand(StrEnum):
    ACME = "acme"


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (np.int64(5), 5),
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.array(7.5), 7.5),
        (np.array(["a", None], dtype=object), ["a", None]),
        (np.datetime64("2024-05-31"), "2024-05-31"),
        (np.datetime64("2024-05-31T12:00:05"), "2024-05-31T12:00:05Z"),
        (datetime(2024, 5, 31, 12), "2024-05-31T12:00:00+00:00"),
        (datetime(2024, 5, 31, 12, tzinfo=timezone(timedelta(hours=2))), "2024-05-31T12:00:00+02:00"),
        (date(2024, 5, 31), "2024-05-31"),
        (Decimal("7.50"), 7.5),
        (Decimal("7"), 7),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (PurePosixPath("/a/b"), "/a/b"),
        (Colour.RED, "red"),
        (Size.L, 3),
        (Brand.ACME, "acme"),
        ({"b", "a"}, ["a", "b"]),
        ((1, "a"), [1, "a"]),
        (OrderedDict(a={Brand.ACME: 1}), {"a": {"acme": 1}}),
        (None, None),
        (7.0, 7.0),
    ],
)
def test_it_becomes_what_it_means(given, meant):
    made = plain(given, "payload")
    assert made == meant
    assert type(made) is type(meant)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"a": {"b": [1, float("nan")]}}, r"^payload\.a\.b\[1\]: nan is no number"),
        ({"a": float("inf")}, r"^payload\.a: inf"),
        ({"a": Decimal("NaN")}, r"^payload\.a: NaN"),
        ({"a": Decimal("0.1234567890123456789")}, r"^payload\.a: 0\.1234567890123456789 has more digits"),
        ({"a": 2**53 + 1}, r"^payload\.a: 9007199254740993 is beyond"),
        ({"a": Decimal(2**60)}, r"^payload\.a: 1152921504606846976 is beyond"),
        ({"a": np.uint64(2**60)}, r"^payload\.a: 1152921504606846976 is beyond"),
        ({"a": b"x"}, r"^payload\.a: .* is of type bytes"),
        ({"a": [1j]}, r"^payload\.a\[0\]: .* is of type complex"),
        ({"a": timedelta(1)}, r"^payload\.a: .* is of type timedelta"),
        ({"a": np.timedelta64(1, "s")}, r"^payload\.a: .* is of type timedelta64"),
        ({"a": np.datetime64("NaT")}, r"^payload\.a: NaT"),
        ({"a": object}, r"^payload\.a: .* is of type type"),
        ({"a": {5: 1}}, r"^payload\.a: the key 5 is of type int"),
        ({None: 1}, r"^payload: the key None is of type NoneType"),
        ({"a": "\udc80"}, r"^payload\.a: .* is no text"),
        ({"a": (x for x in "ab")}, r"^payload\.a: .* is of type generator"),
    ],
)
def test_what_means_nothing_is_refused_by_key_and_type(given, said):
    with pytest.raises(ValueError, match=said):
        plain(given, "payload")


def test_what_holds_itself_is_refused():
    endless: dict = {}
    endless["a"] = endless
    with pytest.raises(ValueError, match="inside one another"):
        plain(endless, "payload")


def test_a_time_of_pandas_is_a_time_and_what_it_has_for_no_value_is_refused():
    import pandas as pd

    assert plain(pd.Timestamp("2024-05-31T12:00", tz=UTC), "payload") == "2024-05-31T12:00:00+00:00"
    for nothing in (pd.NaT, pd.NA):
        with pytest.raises(ValueError, match=rf"^payload\.a: .* is of type {type(nothing).__name__}"):
            plain({"a": nothing}, "payload")


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        (["1", "2"], "must be a list of numbers, is one of NumPy's type <U1"),
        (np.array([1j, 2]), "must be a list of numbers, is one of NumPy's type complex128"),
        (np.array(["2024-05-31"], "M8[D]"), "must be a list of numbers, is one of NumPy's type datetime64"),
        (np.ma.masked_array([1.0, 2.0], mask=[False, True]), "some of these are masked"),
        ([10**400], "int too large to convert to float"),
        ({1.0, 2.0}, "must be a list of numbers"),
    ],
)
def test_what_numpy_would_take_for_numbers_is_no_vector(numbers, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        f32(numbers, "vector")


def test_numbers_of_any_type_are_a_vector(recwarn):
    for type_ in ("f2", "f4", ">f4", "f8", "i1", "u8", "O"):
        assert f32(np.array([1, 2], type_), "vector") == np.array([1, 2], "<f4").tobytes()
    assert f32([Decimal(1), 1e39], "vector") == np.array([1, np.inf], "<f4").tobytes()
    assert not recwarn.list
