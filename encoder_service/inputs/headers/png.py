"""PNG files: the chunks that the pixels need, and no others."""

from __future__ import annotations

import struct
import zlib

from encoder_service.inputs.errors import damaged, truncated
from encoder_service.inputs.headers.container import MAX_FRAMES, Container
from encoder_service.inputs.headers.exif import orientation

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_END = b"\0\0\0\0IEND\xaeB`\x82"
_NS_PIXEL, _NS_BYTE = 8.0, 10.0
# An EXIF block in a text chunk is read up to this size.
_MAX_EXIF = 256 * 1024


def read_png(data: bytes) -> Container:
    """Raises InputError."""
    kept: list[tuple[int, int]] = [(0, len(SIGNATURE))]
    exif = xmp = None
    frames = 1
    at, pixels = len(SIGNATURE), False
    while at + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        start, at = at, at + 12 + length
        if name == b"IDAT":
            pixels = True
        elif pixels and name != b"eXIf":
            break  # the pixels stand together
        if name in (b"IHDR", b"PLTE", b"tRNS", b"IDAT"):
            if kept[-1][1] == start:
                kept[-1] = (kept[-1][0], min(at, len(data)))
            else:
                kept.append((start, min(at, len(data))))
        elif name == b"acTL":
            frames = int.from_bytes(data[start + 8 : start + 12])
        elif name == b"eXIf":
            exif = data[start + 8 : at - 4]
        elif name == b"iTXt" and data.startswith(b"XML:com.adobe.xmp\0\0", start + 8):
            xmp = data[start + 8 : at - 4]
        elif name in (b"tEXt", b"zTXt") and data.startswith(b"Raw profile type exif\0", start + 8):
            exif = exif or _raw_profile(data[start + 8 : at - 4], name == b"zTXt")
    if not pixels:
        raise truncated() if len(data) < at else damaged()
    if len(data) < 33 or data[12:16] != b"IHDR":
        raise damaged()
    width, height = struct.unpack_from(">II", data, 16)
    turn, ignored = orientation(exif, xmp)
    whole = len(kept) == 1 and kept[0][1] + len(_END) >= len(data)
    return Container(
        "PNG",
        data if whole else b"".join([*(data[a:b] for a, b in kept), _END]),
        turn,
        max(1, min(frames, MAX_FRAMES)),
        # The rows are unpacked one after another.
        8 * 8 * width,
        1e-9 * (width * height * _NS_PIXEL + _NS_BYTE * len(data)),
        ignored,
    )


def _raw_profile(text: bytes, packed: bool) -> bytes:
    """EXIF as ImageMagick writes it: the length in digits, then hexadecimal. b"\\0" where it is not that."""
    try:
        body = text.split(b"\0", 1)[1]
        if packed:
            body = zlib.decompressobj().decompress(body[1:], _MAX_EXIF)
        return bytes.fromhex("".join(body.decode("ascii").split("\n")[3:]))
    except (ValueError, IndexError, zlib.error):
        return b"\0"
