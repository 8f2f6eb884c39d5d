"""PNG files: the chunks that the pixels need, and no others."""

from __future__ import annotations

import struct
import zlib

from encoder_service.inputs.errors import InputError, damaged, truncated
from encoder_service.inputs.headers.container import MAX_FRAMES, Container
from encoder_service.inputs.headers.exif import orientation

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_END = b"\0\0\0\0IEND\xaeB`\x82"
_NS_PIXEL, _NS_BYTE = 8.0, 10.0
# An EXIF block in a text chunk, and a compressed XMP, is read up to this size.
_MAX_EXIF = 256 * 1024
_MAX_CHUNKS = 100_000
# Samples of a pixel by colour type.
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# Bytes that are unpacked at once where they are only counted.
_AT_ONCE = 1 << 20
_XMP, _RAW_EXIF = b"XML:com.adobe.xmp\0", b"Raw profile type exif\0"


def read_png(data: bytes) -> Container:
    """Raises InputError."""
    kept: list[tuple[int, int]] = [(0, len(SIGNATURE))]
    exif = xmp = None
    frames = 1
    at, chunks, pixels, before = len(SIGNATURE), 0, False, b""
    while at + 8 <= len(data) and before != b"IEND":
        length, name = struct.unpack_from(">I4s", data, at)
        start, at = at, at + 12 + length
        chunks += 1
        if chunks > _MAX_CHUNKS:
            raise InputError("IMAGE_INVALID", f"a PNG of more than {_MAX_CHUNKS} chunks")
        if name == b"IHDR" and chunks > 1:  # Pillow would go by the last one
            raise damaged()
        # The pixels stand together. Metadata may come behind them, as ImageMagick writes it.
        if name in (b"IHDR", b"PLTE", b"tRNS", b"IDAT") and (not pixels or before == name == b"IDAT"):
            pixels |= name == b"IDAT"
            if kept[-1][1] == start:
                kept[-1] = (kept[-1][0], min(at, len(data)))
            else:
                kept.append((start, min(at, len(data))))
        elif name == b"acTL":
            frames = int.from_bytes(data[start + 8 : start + 12])
        elif name == b"eXIf":
            exif = data[start + 8 : at - 4]
        elif name == b"iTXt" and xmp is None and data.startswith(_XMP, start + 8):
            xmp = _xmp(data[start + 8 : at - 4])
        elif name in (b"tEXt", b"zTXt") and exif is None and data.startswith(_RAW_EXIF, start + 8):
            exif = _raw_profile(data[start + 8 : at - 4], name == b"zTXt")
        before = name
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


def lacks_rows(data: bytes) -> bool:
    """Whether the packed pixels of a PNG of `read_png` end early; not of one that is interlaced.

    Pillow refuses that of interlaced ones only, and leaves what is missing of others at 0.
    """
    width, height, depth, kind, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    missing = 0 if interlaced else height * (1 + -(-width * depth * _SAMPLES[kind] // 8))
    unpack = zlib.decompressobj()
    at = len(SIGNATURE)
    try:
        while at + 8 <= len(data) and missing > 0 and not unpack.eof:
            length, name = struct.unpack_from(">I4s", data, at)
            packed = data[at + 8 : at + 8 + length] if name == b"IDAT" else b""
            while packed and missing > 0 and not unpack.eof:
                missing -= len(unpack.decompress(packed, _AT_ONCE))
                packed = unpack.unconsumed_tail
            at += 12 + length
    except zlib.error:
        return True
    return missing > 0


def _xmp(text: bytes) -> bytes:
    """The XMP of an iTXt chunk, compressed or not."""
    if text[len(_XMP) : len(_XMP) + 1] != b"\1":
        return text
    try:
        # Behind the keyword: compression flag and method, language, translated keyword, each ended by 0.
        return zlib.decompressobj().decompress(text[len(_XMP) + 2 :].split(b"\0", 2)[2], _MAX_EXIF)
    except (IndexError, zlib.error):
        return text


def _raw_profile(text: bytes, packed: bool) -> bytes:
    """EXIF as ImageMagick writes it: the length in digits, then hexadecimal. b"\\0" where it is not that."""
    try:
        body = text.split(b"\0", 1)[1]
        if packed:
            body = zlib.decompressobj().decompress(body[1:], _MAX_EXIF)
        return bytes.fromhex("".join(body.decode("ascii").split("\n")[3:])) or b"\0"
    except (ValueError, IndexError, zlib.error):
        return b"\0"
