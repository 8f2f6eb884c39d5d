"""AVIF and HEIC files: boxes. Both decoders apply the file's own rotation, by rule instead of EXIF's."""

from __future__ import annotations

import re

from encoder_service.inputs.errors import damaged
from encoder_service.inputs.headers.container import Container

_AVIF = (b"avif", b"avis")
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs")
_EITHER = (b"mif1", b"msf1")
_EXIF_ITEM = re.compile(rb"(infe(?:\x02...[\s\S]{4}|\x03...[\s\S]{6}))Exif", re.DOTALL)
_SIZE = re.compile(rb"ispe\0\0\0\0([\s\S]{4})([\s\S]{4})")
_NS_PIXEL, _NS_BYTE = 60.0, 100.0
# Measured: planes of the decoder, its copy as RGB and the one that is handed over; samples of more than 8
# bits take two bytes each.
_BYTES_PIXEL, _BYTES_DEEP_PIXEL = 9, 18
_DEPTHS = re.compile(rb"pixi\0\0\0\0([\1-\4])([\s\S]{4})")


def kind_of(data: bytes) -> str:
    """AVIF, HEIC, or "" where it is neither."""
    if data[4:8] != b"ftyp":
        return ""
    length = min(int.from_bytes(data[:4]), 256)
    brands = [data[8:12], *(data[at : at + 4] for at in range(16, length, 4))]
    if brands[0] in _AVIF or (brands[0] in _EITHER and any(brand in _AVIF for brand in brands)):
        return "AVIF"
    return "HEIC" if brands[0] in _HEIC + _EITHER else ""


def read_isobmff(data: bytes) -> Container:
    """Raises InputError."""
    # The largest of the sizes named: a grid's own, its tiles' and the thumbnail's stand side by side.
    pixels = max(
        (int.from_bytes(found[1]) * int.from_bytes(found[2]) for found in _SIZE.finditer(data)), default=0
    )
    if not pixels:
        raise damaged()
    deep = any(max(found[2][: found[1][0]]) > 8 for found in _DEPTHS.finditer(data))
    return Container(
        kind_of(data),
        # An item of a type that nobody knows is passed over.
        _EXIF_ITEM.sub(rb"\1none", data, count=8),
        buffers=(_BYTES_DEEP_PIXEL if deep else _BYTES_PIXEL) * pixels + 3 * len(data),
        seconds=1e-9 * (pixels * _NS_PIXEL + _NS_BYTE * len(data)),
    )
