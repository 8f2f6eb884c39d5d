"""JPEG files: their segments up to the pixels, and how many passes over the image those take."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from encoder_service.inputs.errors import InputError, damaged, truncated
from encoder_service.inputs.headers.container import MAX_FRAMES, Container
from encoder_service.inputs.headers.exif import first_number, orientation

SIGNATURE = b"\xff\xd8\xff"
END = b"\xff\xd9"

_SOI, _EOI, _SOS, _APP0, _EXIF, _MPF, _ADOBE, _COMMENT = 0xD8, 0xD9, 0xDA, 0xE0, 0xE1, 0xE2, 0xEE, 0xFE
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0-15; the others are tables
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
_NUMBER_OF_IMAGES = 0xB001  # CIPA DC-007, multi-picture format
# In entropy-coded data 0xFF is followed by 0 or a restart marker; anything else ends it.
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_MAX_SEGMENTS = 100_000

# Measured on photographs and flat images, without scaling: nanoseconds a pixel, a byte, and a pixel in
# each further scan, however short that is.
_NS_PIXEL, _NS_BYTE, _NS_SCAN = 2.0, 10.0, 0.4


@dataclass(slots=True)
class _Head:
    """What stands before the first scan."""

    kept: list[bytes]
    frame: bytes = b""
    marker: int = 0
    exif: bytes | None = None
    xmp: bytes | None = None
    frames: int = 1
    scan: int = 0
    scan_components: int = 0


def read_jpeg(data: bytes) -> Container:
    """Raises InputError."""
    try:
        head = _head(data)
    except (IndexError, struct.error):
        raise truncated() from None
    if len(head.frame) < 6:
        raise damaged()
    height, width, components = struct.unpack_from(">HHB", head.frame, 1)
    end = len(data)
    scans, buffers = 1, 0
    if head.marker in _PROGRESSIVE or head.scan_components < components:
        # All coefficients of the whole image are held between the scans, whatever the scaling.
        scans, end = _scans(data, head.scan)
        buffers = _coefficients(width, height, head.frame)
    turn, ignored = orientation(head.exif, head.xmp)
    return Container(
        "JPEG",
        b"".join([*head.kept, data[head.scan : end]]),
        turn,
        head.frames,
        buffers,
        1e-9 * (width * height * (_NS_PIXEL + _NS_SCAN * (scans - 1)) + _NS_BYTE * len(data)),
        ignored,
    )


def _head(data: bytes) -> _Head:
    head = _Head([data[:2]])
    at = 2
    for _ in range(_MAX_SEGMENTS):
        at = data.find(b"\xff", at)
        if at < 0:
            raise truncated()
        while data[at] == 0xFF:
            at += 1
        marker, start = data[at], at - 1
        at += 1
        if marker == 0 or marker == 1 or 0xD0 <= marker <= _EOI:
            continue  # junk, or a marker without a body
        body = data[at + 2 : at + struct.unpack_from(">H", data, at)[0]]
        if marker == _SOS:
            head.scan, head.scan_components = start, body[0]
            return head
        at += 2 + len(body)
        if _keep(head, marker, body):
            head.kept.append(data[start:at])
    raise damaged()


def _keep(head: _Head, marker: int, body: bytes) -> bool:
    """Whether decoding the pixels needs the segment."""
    if marker in _FRAMES:
        head.marker, head.frame = marker, body
    elif marker == _EXIF and body.startswith(b"Exif\0") and head.exif is None:
        head.exif = body
    elif marker == _EXIF and body.startswith(b"http://ns.adobe.com/xap/1.0/\0") and head.xmp is None:
        head.xmp = body
    elif marker == _MPF and body.startswith(b"MPF\0"):
        head.frames = _images(body[4:])
    # JFIF and Adobe's segment say what the components are.
    if marker == _APP0:
        return body.startswith(b"JFIF\0") and len(body) >= 14
    if marker == _ADOBE:
        return body.startswith(b"Adobe") and len(body) >= 12
    return not (_APP0 < marker < 0xF0 or marker == _COMMENT)


def _images(mpf: bytes) -> int:
    try:
        return max(1, min(first_number(mpf, _NUMBER_OF_IMAGES) or 1, MAX_FRAMES))
    except (struct.error, ValueError):
        return 1


def _scans(data: bytes, at: int) -> tuple[int, int]:
    """Scans from `at` to the end marker, and where that ends (the end of the data, if it is missing)."""
    scans = 0
    for _ in range(_MAX_SEGMENTS):
        found = _MARKER.search(data, at)
        if found is None:
            return scans, len(data)
        marker, at = data[found.start() + 1], found.end()
        if marker == _EOI:
            return scans, at
        if marker != _SOI and marker != 1:
            scans += marker == _SOS
            if at + 2 <= len(data):
                at += int.from_bytes(data[at : at + 2])
    raise InputError("IMAGE_INVALID", f"a JPEG of more than {_MAX_SEGMENTS} segments")


def _coefficients(width: int, height: int, frame: bytes) -> int:
    """Bytes of the coefficients of all components: two each, padded to whole blocks."""
    sampling = [(factors >> 4, factors & 15) for factors in frame[7::3]]
    across, down = (max((factors[side] for factors in sampling), default=1) or 1 for side in (0, 1))
    total = 0
    for h, v in sampling:
        total += _padded(width * h / across, 8 * h) * _padded(height * v / down, 8 * v) * 2
    return total


def _padded(size: float, unit: int) -> int:
    return int(-(-size // max(1, unit))) * max(1, unit)
