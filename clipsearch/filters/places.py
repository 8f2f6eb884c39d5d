"""Where a place must be, as written: a circle `56.95,24.1,5km`, or a box `57.1,23.9..56.8,24.4`.

Latitude comes first, as on maps. A box goes from its north-western corner to its south-eastern one.
"""

from __future__ import annotations

import re
from typing import Any

_NUMBER = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_PLACE = rf"\s*({_NUMBER})\s*,\s*({_NUMBER})\s*"
_CIRCLE = re.compile(rf"{_PLACE},\s*({_NUMBER})\s*(km|m)\s*")
_BOX = re.compile(rf"{_PLACE}\.\.{_PLACE}")
_METRES = {"m": 1, "km": 1000}


def area(key: str, text: str) -> dict[str, Any]:
    """The condition that a field is a place within what the text says, in Qdrant's JSON form.

    Raises ValueError.
    """
    if found := _CIRCLE.fullmatch(text):
        lat, lon, radius, unit = found.groups()
        circle = {"center": _place(lat, lon), "radius": float(radius) * _METRES[unit]}
        return {"key": key, "geo_radius": circle}
    if found := _BOX.fullmatch(text):
        north, west, south, east = found.groups()
        box = {"top_left": _place(north, west), "bottom_right": _place(south, east)}
        return {"key": key, "geo_bounding_box": box}
    raise ValueError(
        f"{text!r} is neither a circle such as 56.95,24.1,5km (latitude, longitude, radius) "
        "nor a box such as 57.1,23.9..56.8,24.4 (north-western corner..south-eastern)"
    )


def _place(lat: str, lon: str) -> dict[str, float]:
    return {"lat": float(lat), "lon": float(lon)}
