"""The one thing that metadata has to say about pixels: which way is up.

Read here and not by Pillow, whose reader takes in every entry of a directory, each of any size.
"""

from __future__ import annotations

import re
import struct

ORIENTATION = 0x0112
_SHORT, _LONG = 3, 4
_PREFIX = b"Exif\0\0"
_IN_XMP = re.compile(rb"tiff:Orientation(?:=[\"']|>)\s*([1-8])\b")


def orientation(exif: bytes | None, xmp: bytes | None = None) -> tuple[int, tuple[str, ...]]:
    """The orientation, 1 to 8 (1 = upright, or nothing said), and what could not be read.

    EXIF 2.32, 4.6.4: tag 0x0112 of the first directory; XMP is asked where that says nothing.
    """
    ignored: tuple[str, ...] = ()
    value = None
    if exif:
        try:
            # JPEG's form; some writers put it in front of PNG's and WebP's too, some twice. No more are taken
            # off: each copies the rest, and a chunk may be nothing but prefixes.
            tiff = exif.removeprefix(_PREFIX).removeprefix(_PREFIX)
            value = first_number(tiff, ORIENTATION)
        except (struct.error, ValueError):
            ignored = ("EXIF that cannot be read",)
    if value is None and xmp and (found := _IN_XMP.search(xmp)):
        value = int(found[1])
    if value is None:
        return 1, ignored
    if not 1 <= value <= 8:
        return 1, (f"EXIF orientation {value}, which means nothing",)
    return value, ignored


def first_number(tiff: bytes, tag: int) -> int | None:
    """The first number of a SHORT or LONG tag of the first directory, None where there is none.

    Raises struct.error or ValueError where this is no TIFF structure.
    """
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        raise ValueError("no byte order")
    at = struct.unpack_from(order + "I", tiff, 4)[0]
    for index in range(struct.unpack_from(order + "H", tiff, at)[0]):
        entry = at + 2 + 12 * index
        found, kind = struct.unpack_from(order + "HH", tiff, entry)
        if found == tag:
            if kind not in (_SHORT, _LONG):
                raise ValueError("not a number")
            return int(struct.unpack_from(order + ("H" if kind == _SHORT else "I"), tiff, entry + 8)[0])
    return None
