"""WebP files: the size of their canvas and what stands beside the pixels."""

from __future__ import annotations

import struct

from encoder_service.inputs.errors import damaged, truncated
from encoder_service.inputs.headers.container import MAX_FRAMES, Container
from encoder_service.inputs.headers.exif import orientation

_NS_PIXEL, _NS_BYTE = 30.0, 20.0
# Measured: two canvases of four bytes a pixel, the copy that is handed over, the rows or the packed
# pixels of the decoder.
_BYTES_PIXEL = 15


def read_webp(data: bytes) -> Container:
    """Raises InputError."""
    size: tuple[int, int] | None = None
    exif = xmp = None
    frames = 0
    at = 12
    while at + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, at)
        body = at + 8
        if size is None:
            size = _canvas(name, data[body : body + 10])
        if name == b"EXIF":
            exif = data[body : body + length]
        elif name == b"XMP ":
            xmp = data[body : body + length]
        elif name == b"ANMF":
            frames += 1
        at = body + length + length % 2
    if size is None:
        raise truncated() if len(data) < 30 else damaged()
    turn, ignored = orientation(exif, xmp)
    pixels = size[0] * size[1]
    return Container(
        "WEBP",
        data,
        turn,
        max(1, min(frames, MAX_FRAMES)),
        _BYTES_PIXEL * pixels + 2 * len(data),
        1e-9 * (pixels * _NS_PIXEL + _NS_BYTE * len(data)),
        ignored,
    )


def _canvas(name: bytes, body: bytes) -> tuple[int, int] | None:
    """Width and height by the first chunk, RFC 9649."""
    if len(body) < 10:
        return None
    if name == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if name == b"VP8 ":
        width, height = struct.unpack_from("<HH", body, 6)
        return width & 0x3FFF, height & 0x3FFF
    if name == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return None
