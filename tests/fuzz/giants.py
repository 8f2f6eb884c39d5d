"""Small files and messages that would take gigabytes, each kind under a name."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from functools import cache

import numpy as np
from PIL import Image

from clipsearch.encoder.v1 import encoder_pb2
from clipsearch.search.v1 import search_pb2
from tests.fuzz.wire import varint

_MIB = 1024 * 1024
ENCODE_TEXT = "/clipsearch.encoder.v1.EncoderService/EncodeText"
ENCODE_IMAGE = "/clipsearch.encoder.v1.EncoderService/EncodeImage"
CLASSIFY = "/clipsearch.encoder.v1.EncoderService/Classify"
SEARCH = "/clipsearch.search.v1.SearchService/Search"
SEARCH_BATCH = "/clipsearch.search.v1.SearchService/SearchBatch"
UPSERT = "/clipsearch.search.v1.SearchService/Upsert"
GET_POINTS = "/clipsearch.search.v1.SearchService/GetPoints"
CREATE = "/clipsearch.search.v1.CollectionService/CreateCollection"


def _png(width: int, height: int, depth: int, colour: int, bits_a_pixel: int, *more: bytes) -> bytes:
    """All its pixels are 0, which compresses a thousandfold."""
    line_bytes = 1 + -(-width * bits_a_pixel // 8)
    return png(width, height, depth, colour, _zeros(line_bytes * height), *more)


def _zeros(count: int) -> bytes:
    """So many zeros, deflated."""
    packer, block = zlib.compressobj(9), bytes(4 * _MIB)
    parts = [packer.compress(block[: count - at]) for at in range(0, count, len(block))]
    return b"".join(parts) + packer.flush()


def png(width: int, height: int, depth: int, colour: int, body: bytes, *more: bytes) -> bytes:
    """A PNG file of these compressed pixels, and more chunks before them."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [_chunk(b"IHDR", header), *more, _chunk(b"IDAT", body), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def rgba_png() -> bytes:
    """100 megapixels with alpha: 400 MB, and as much again for each copy."""
    return _png(10_000, 10_000, 8, 6, 32)


def deep_png() -> bytes:
    """64 megapixels of 16 bits and 4 channels."""
    return _png(8_000, 8_000, 16, 6, 64)


def palette_png() -> bytes:
    """100 megapixels of one byte, with transparent colours."""
    palette = _chunk(b"PLTE", bytes(range(256)) * 3)
    return _png(10_000, 10_000, 8, 3, 8, palette, _chunk(b"tRNS", bytes(256)))


def animated_png() -> bytes:
    """Two frames of 49 megapixels with alpha."""
    frames = [Image.new("RGBA", (7_000, 7_000), (shade, 0, 0, 128)) for shade in (0, 200)]
    return _saved(frames[0], "PNG", save_all=True, append_images=frames[1:])


def gif() -> bytes:
    """One frame of the largest size that the format has, in a few bytes; its data end at once."""
    side = 65_535
    head = b"GIF89a" + struct.pack("<HH", side, side) + b"\x80\0\0" + b"\0\0\0\xff\xff\xff"
    return head + b"," + struct.pack("<HHHH", 0, 0, side, side) + b"\0\x02\x02\x44\x01\0;"


def tiled_tiff() -> bytes:
    """64 x 64 pixels in one tile of 16384 x 16384."""
    side = 16_384
    body = _zeros(side * side * 3)
    return _tiff_of(64, 64, [(322, 4, side), (323, 4, side), (324, 4, None), (325, 4, len(body))], body)


def strip_tiff() -> bytes:
    """64 x 64 pixels in one strip that says it has 16384 x 64 and holds 250 MB."""
    body = _zeros(250 * _MIB)
    return _tiff_of(
        64, 64, [(278, 4, 16_384), (273, 4, None), (279, 4, len(body))], body
    )  # RowsPerStrip, StripOffsets, StripByteCounts


def _tiff_of(width: int, height: int, layout: list[tuple[int, int, int | None]], body: bytes) -> bytes:
    """A deflated RGB TIFF with one piece of data; the tag whose value is None points to it."""
    tags: list[tuple[int, int, int, int | None]] = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 2),
        (277, 3, 1, 3), (284, 3, 1, 1), *((tag, kind, 1, value) for tag, kind, value in layout),
    ]  # fmt: skip
    tags.sort(key=lambda tag: tag[0])
    start = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(
        struct.pack("<HHII", tag, kind, count, start if value is None else value)
        for tag, kind, count, value in tags
    )
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + body


def jpeg_2000() -> bytes:
    """36 megapixels of one colour."""
    return _saved(Image.new("RGB", (6_000, 6_000), (9, 80, 40)), "JPEG2000", irreversible=True)


def scans_jpeg() -> bytes:
    """A progressive JPEG of 25 megapixels whose last scan comes 400 times."""
    data = _saved(Image.new("RGB", (5_000, 5_000), (9, 80, 40)), "JPEG", progressive=True, quality=30)
    at = data.rindex(b"\xff\xda")
    return data[:at] + data[at:-2] * 400 + b"\xff\xd9"


def webp() -> bytes:
    """The largest canvas that the format has, with alpha: 268 megapixels."""
    image = Image.new("RGBA", (4_000, 4_000), (9, 80, 40, 90))
    return _saved(image, "WEBP", lossless=True, method=0)


def bmp() -> bytes:
    """A header of 100 megapixels, and no pixels behind it."""
    header = struct.pack("<IiiHHIIiiII", 40, 10_000, 10_000, 1, 32, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 400_000_000, 0, 0, 54) + header + bytes(1000)


def text_png() -> bytes:
    """A small PNG with a text of 64 MiB, packed."""
    body = _zeros(64 * _MIB)
    return _png(8, 8, 8, 2, 24, _chunk(b"zTXt", b"c\0\0" + body), _chunk(b"iCCP", b"c\0\0" + body))


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


IMAGES: dict[str, Callable[[], bytes]] = {
    made.__name__: cache(made)
    for made in (
        rgba_png, deep_png, palette_png, animated_png, gif, tiled_tiff, strip_tiff, jpeg_2000, scans_jpeg,
        webp, bmp, text_png,
    )
}  # fmt: skip


def phone_jpeg() -> bytes:
    """12000 x 9000 pixels, as a phone's camera writes them: many, and cheap to read at a quarter of it."""
    tile = np.random.default_rng(1).integers(0, 256, (90, 120, 3), np.uint8)
    photo = Image.fromarray(tile).resize((3_000, 2_250), Image.Resampling.BICUBIC).resize((12_000, 9_000))
    return _saved(photo, "JPEG", quality=60)


def photo_jpeg() -> bytes:
    """An ordinary photograph, 1280 x 960."""
    tile = np.random.default_rng(2).integers(0, 256, (48, 64, 3), np.uint8)
    return _saved(Image.fromarray(tile).resize((1280, 960), Image.Resampling.BICUBIC), "JPEG", quality=85)


def _empty(field: int, size: int = 8 * _MIB) -> bytes:
    """As many empty elements of a list as fit into `size` bytes."""
    return bytes([field << 3 | 2, 0]) * (size // 2)


def _inside(field: int, data: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(data)) + data


def _classify(template: str, labels: list[str]) -> bytes:
    request = encoder_pb2.ClassifyRequest(images=[b"no image"], labels=labels, prompt_template=template)
    return request.SerializeToString()


def _struct_of_nulls() -> bytes:
    """A payload of one list with as many nulls as fit into 64 KiB."""
    values = _inside(6, b"\x0a\x02\x08\x00" * 15_000)
    return _inside(1, _inside(1, b"k") + _inside(2, values))


def _deep_struct(depth: int) -> bytes:
    value = b"\x08\x00"
    for _ in range(depth):
        value = _inside(6, _inside(1, value))
    return _inside(1, _inside(1, b"k") + _inside(2, value))


def _deep_filter(depth: int) -> bytes:
    filter = b""
    for _ in range(depth):
        filter = _inside(1, _inside(5, filter))
    return filter


# A method and the bytes of its request. Search's own are for the collection "fuzz".
MESSAGES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "empty texts": (ENCODE_TEXT, lambda: _empty(1, 16 * _MIB)),
    "empty images": (ENCODE_IMAGE, lambda: _empty(1)),
    "labels for a template of places": (
        CLASSIFY,
        lambda: _classify("{}" * 30_000, [f"{n:03}" + "x" * 200 for n in range(256)]),
    ),
    "a long label": (CLASSIFY, lambda: _classify("a {}", ["x" * 8_000_000])),
    "many labels": (CLASSIFY, lambda: _classify("a {}", [f"{n}" for n in range(1_000_000)])),
    "long labels": (CLASSIFY, lambda: _classify("{} {} {}", [f"{n:03}" + "y" * 60_000 for n in range(256)])),
    "long texts": (
        ENCODE_TEXT,
        lambda: encoder_pb2.EncodeTextRequest(
            texts=[f"{n} " + "a b " * 8_000 for n in range(64)]
        ).SerializeToString(),
    ),
    "empty points": (UPSERT, lambda: _inside(1, b"fuzz") + _empty(2)),
    "empty searches": (SEARCH_BATCH, lambda: _empty(1)),
    "empty terms": (SEARCH, lambda: _inside(1, b"fuzz") + _empty(2)),
    "empty conditions": (SEARCH, lambda: _inside(1, b"fuzz") + _inside(4, _empty(1))),
    "a deep filter": (SEARCH, lambda: _inside(1, b"fuzz") + _inside(4, _deep_filter(40))),
    "a filter too deep": (SEARCH, lambda: _inside(1, b"fuzz") + _inside(4, _deep_filter(2_000))),
    "payloads of nulls": (
        UPSERT,
        lambda: (
            _inside(1, b"fuzz")
            + b"".join(
                _inside(2, _inside(1, b"p%d" % n) + _inside(3, b"a cat") + _inside(6, _struct_of_nulls()))
                for n in range(64)
            )
        ),
    ),
    "a deep payload": (
        UPSERT,
        lambda: (
            _inside(1, b"fuzz")
            + _inside(2, _inside(1, b"p1") + _inside(3, b"a cat") + _inside(6, _deep_struct(30)))
        ),
    ),
    "a payload too deep": (
        UPSERT,
        lambda: (
            _inside(1, b"fuzz")
            + _inside(2, _inside(1, b"p1") + _inside(3, b"a cat") + _inside(6, _deep_struct(500)))
        ),
    ),
    "a giant id": (
        UPSERT,
        lambda: search_pb2.UpsertRequest(
            collection="fuzz", points=[search_pb2.Point(id="x" * 8_000_000, text="a cat")]
        ).SerializeToString(),
    ),
    "giant ids": (GET_POINTS, lambda: _inside(1, b"fuzz") + _inside(2, b"x" * 8_000) * 1_000),
    "a giant name": (SEARCH, lambda: _inside(1, b"x" * 8_000_000) + _inside(2, _inside(1, b"a cat"))),
    "a far page": (
        SEARCH,
        lambda: search_pb2.SearchRequest(
            collection="fuzz", query=[search_pb2.QueryTerm(text="a cat")], limit=2**32 - 1, offset=2**32 - 1
        ).SerializeToString(),
    ),
    "many indexes": (CREATE, lambda: _inside(1, b"made-1") + _empty(2)),
}
