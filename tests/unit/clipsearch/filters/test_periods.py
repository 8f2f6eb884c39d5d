"""Days and times as written, in the zones of those who write them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from clipsearch.filters.periods import period


@pytest.mark.parametrize(
    ("text", "zone", "begin", "end"),
    [
        ("2024", "UTC", "2024-01-01T00:00Z", "2025-01-01T00:00Z"),
        ("2024-02", "UTC", "2024-02-01T00:00Z", "2024-03-01T00:00Z"),
        ("2024-12", "Asia/Tokyo", "2024-11-30T15:00Z", "2024-12-31T15:00Z"),
        ("2024-05-31", "America/New_York", "2024-05-31T04:00Z", "2024-06-01T04:00Z"),
        ("2024-03-10", "America/New_York", "2024-03-10T05:00Z", "2024-03-11T04:00Z"),  # 23 hours
        ("2024-11-03", "America/New_York", "2024-11-03T04:00Z", "2024-11-04T05:00Z"),  # 25 hours
        ("2024-03-31", "Asia/Beirut", "2024-03-30T22:00Z", "2024-03-31T21:00Z"),  # begins at one o'clock
        ("2024-05-31T12:00", "Asia/Kolkata", "2024-05-31T06:30Z", "2024-05-31T06:31Z"),
        ("2024-05-31 12:00:05", "UTC", "2024-05-31T12:00:05Z", "2024-05-31T12:00:06Z"),
        ("2024-05-31T12:00+02:00", "America/New_York", "2024-05-31T10:00Z", "2024-05-31T10:01Z"),
        ("2024-05-31T12:00:05.25z", "Asia/Tokyo", "2024-05-31T12:00:05.25Z", "2024-05-31T12:00:05.26Z"),
        ("0001-01-01", "Asia/Tokyo", "0001-01-01T00:00Z", "0001-01-01T14:41:01Z"),
    ],
)
def test_what_is_named_is_the_whole_of_it(text, zone, begin, end):
    named = period(text, ZoneInfo(zone))
    assert named.end is not None
    assert named.begin.moment == datetime.fromisoformat(begin)
    assert named.end.moment == datetime.fromisoformat(end)


def test_the_last_year_has_no_end():
    assert period("9999").end is None
    assert period("9999-12-31", ZoneInfo("America/New_York")).end is None


@pytest.mark.parametrize(
    "text",
    [
        "2024-02-30",
        "2024-13",
        "0000",
        "2024-05-31T24:61",
        "2024-5-1",
        "20240531",
        "soon",
        "",
        "2024-05-31T12",
    ],
)
def test_what_is_no_date_is_none(text):
    with pytest.raises(ValueError, match=r"."):
        period(text)


@pytest.mark.parametrize(("zone", "hours"), [("America/New_York", 23), ("Pacific/Auckland", 24)])
def test_the_command_line_means_days_of_the_machines_zone(zone, hours):
    """In a process of its own, whose TZ is read when it starts."""
    script = """
import json
from clipsearch.cli.shared.options import conditions
((_, made),) = [(k, v) for k, v in conditions(["made<2024-03-10", "made<2024-03-11"]).items()]
bounds = [one["range"]["lt"] if "range" in one else one["must"][0]["range"]["lt"] for one in made]
print(json.dumps([bound.isoformat() for bound in bounds]))
"""
    environment = {**os.environ, "TZ": zone}
    told = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=True)
    begin, end = map(datetime.fromisoformat, json.loads(told.stdout))
    assert begin == datetime(2024, 3, 10, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    assert end - begin == timedelta(hours=hours)
