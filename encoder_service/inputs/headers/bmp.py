"""BMP files: their size, and what run-length coding costs."""

from __future__ import annotations

import struct

from encoder_service.inputs.errors import truncated
from encoder_service.inputs.headers.container import Container

_RLE = (1, 2)
_NS_PIXEL = 5.0
# Pillow decodes runs in Python.
_NS_PIXEL_RLE, _NS_BYTE_RLE = 60.0, 300.0


def read_bmp(data: bytes) -> Container:
    """Raises InputError."""
    if len(data) < 26:
        raise truncated()
    if struct.unpack_from("<I", data, 14)[0] == 12:
        width, height = struct.unpack_from("<HH", data, 18)
        coding = 0
    elif len(data) < 34:
        raise truncated()
    else:
        width, height = struct.unpack_from("<ii", data, 18)
        coding = struct.unpack_from("<I", data, 30)[0]
    pixels = abs(width) * abs(height)
    if coding not in _RLE:
        return Container("BMP", data, buffers=16 * abs(width), seconds=1e-9 * _NS_PIXEL * pixels)
    return Container(
        "BMP",
        data,
        buffers=int(2.2 * pixels),
        seconds=1e-9 * (pixels * _NS_PIXEL_RLE + _NS_BYTE_RLE * len(data)),
    )
