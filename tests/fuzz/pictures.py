"""Image files that mean harm: real ones in every format that Pillow writes, damaged, and a few bombs."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable
from functools import cache

import numpy as np
from PIL import Image

from tests.fuzz.giants import png

_SIZE = (48, 36)


def _saved(image: Image.Image, format: str, **options: object) -> bytes | None:
    buffer = io.BytesIO()
    try:
        image.save(buffer, format, **options)
    except Exception:  # this format does not take this image, or not without a program that is not here
        return None
    return buffer.getvalue()


@cache
def _photo(size: tuple[int, int] = _SIZE) -> Image.Image:
    pixels = np.random.default_rng(5).integers(0, 256, (size[1] // 6, size[0] // 6, 3), np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


SMALLEST = [data for kind in ("JPEG", "PNG", "GIF") if (data := _saved(_photo((12, 12)), kind))]


@cache
def seeds() -> list[bytes]:
    """Undamaged files: each format, and the kinds within the formats that are read."""
    photo = _photo()
    Image.init()
    found = [_saved(photo, format) for format in sorted(Image.SAVE)]
    for mode in ("1", "L", "LA", "P", "PA", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16"):
        image = _in_mode(photo, mode)
        found += [_saved(image, format) for format in ("PNG", "TIFF", "WEBP", "GIF", "JPEG", "BMP", "AVIF")]
    compressions = [
        "tiff_lzw",
        "tiff_deflate",
        "packbits",
        "jpeg",
        "group3",
        "group4",
        "lzma",
        "zstd",
        "webp",
    ]
    for compression in compressions:
        found += [
            _saved(_in_mode(photo, mode), "TIFF", compression=compression) for mode in ("1", "L", "RGB")
        ]
    found += [_saved(photo, "JPEG", progressive=True, quality=quality) for quality in (1, 50, 100)]
    found += [_saved(photo, "WEBP", lossless=True), _saved(photo, "WEBP", quality=1)]
    frames = [photo.rotate(angle) for angle in (30, 60, 90)]
    for format in ("GIF", "WEBP", "PNG", "TIFF", "AVIF", "MPO"):
        found.append(_saved(photo, format, save_all=True, append_images=frames))
    exif = Image.Exif()
    for orientation in (0, 3, 6, 9):
        exif[0x0112] = orientation
        found += [_saved(photo, format, exif=exif.tobytes()) for format in ("JPEG", "PNG", "WEBP", "TIFF")]
    found.append(_saved(_photo((640, 480)), "JPEG"))
    return [data for data in found if data]


def _in_mode(photo: Image.Image, mode: str) -> Image.Image:
    if mode == "I;16":
        return Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257)
    if mode in ("LAB",):
        from PIL import ImageCms

        to_lab = ImageCms.buildTransform(
            ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
        )
        return ImageCms.applyTransform(photo, to_lab) or photo
    return photo.convert(mode)


def mutated(rng: random.Random) -> bytes:
    """An image file, damaged in one to five places, or once in a while a bomb."""
    if rng.random() < 0.01:
        return rng.choice(_BOMBS)(rng)
    data = rng.choice(seeds())
    for _ in range(rng.randint(1, 5)):
        data = rng.choice(_MUTATIONS)(rng, data)
    return data


def _flip(rng: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice([1, 4, 32]) if out else 0):
        # Headers decide; most damage belongs there.
        at = rng.randrange(min(len(out), 200) if rng.random() < 0.6 else len(out))
        out[at] ^= 1 << rng.randrange(8)
    return bytes(out)


def _extreme(rng: random.Random, data: bytes) -> bytes:
    """A size, count or offset becomes the largest, the smallest, or negative."""
    piece = rng.choice(
        [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\xff\xff", b"\0\x01"]
    )
    at = rng.randint(0, max(0, min(len(data), 400) - 4))
    return data[:at] + piece + data[at + len(piece) :]


def _cut(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randint(0, len(data))]


def _swap(rng: random.Random, data: bytes) -> bytes:
    """Two chunks change places."""
    if len(data) < 24:
        return data
    size = rng.randint(4, max(4, len(data) // 8))
    first, second = sorted(rng.randint(0, len(data) - size) for _ in range(2))
    if second < first + size:
        return data
    a, b = data[first : first + size], data[second : second + size]
    return data[:first] + b + data[first + size : second] + a + data[second + size :]


def _repeat(rng: random.Random, data: bytes) -> bytes:
    at = rng.randint(0, len(data))
    size = rng.randint(1, 64)
    return data[:at] + data[at : at + size] * rng.choice([2, 20, 200]) + data[at + size :]


def _splice(rng: random.Random, data: bytes) -> bytes:
    """The head of one file, the tail of another."""
    other = rng.choice(seeds())
    return data[: rng.randint(0, len(data))] + other[rng.randint(0, len(other)) :]


def _behind(rng: random.Random, data: bytes) -> bytes:
    return data + rng.randbytes(rng.choice([1, 100, 5000]))


_MUTATIONS = [_flip, _flip, _flip, _extreme, _extreme, _cut, _swap, _repeat, _splice, _behind]


def _png_of_zeros(rng: random.Random) -> bytes:
    """Small file, many pixels: within the limit, at it, and beyond."""
    edge = rng.choice([2000, 4000, 9999, 10_001, 65_535, 2**31 - 1])
    rows = min(edge, 4000)
    return png(edge, edge, 1, 0, zlib.compress(bytes((1 + min(edge, 65_535) // 8) * rows), 9))


def _strip(rng: random.Random) -> bytes:
    """One pixel high, a hundred thousand long, or the other way round."""
    size = rng.choice([(100_000, 1), (1, 100_000), (65_535, 2), (2, 65_535)])
    return _saved(Image.new("L", size), "PNG") or b""


def _gif_bomb(rng: random.Random) -> bytes:
    """Frames of the largest size, each of a few bytes."""
    side = rng.choice([500, 65_535])
    head = b"GIF89a" + struct.pack("<HH", side, side) + b"\x80\0\0" + b"\0\0\0\xff\xff\xff"
    frame = b"," + struct.pack("<HHHH", 0, 0, side, side) + b"\0\x02\x02\x44\x01\0"
    return head + frame * rng.choice([1, 2000]) + b";"


def _tiff_loop(rng: random.Random) -> bytes:
    """Directories that point at themselves, with counts that are not there."""
    count = rng.choice([0, 1, 0xFFFF])
    entry = struct.pack("<HHII", rng.choice([256, 257, 273, 279, 322]), rng.choice([3, 4, 13]), 0xFFFFFFFF, 8)
    return b"II*\0" + struct.pack("<IH", 8, count) + entry * 2 + struct.pack("<I", 8)


def _jpeg_of_scans(rng: random.Random) -> bytes:
    """A progressive JPEG whose last scan comes again and again, behind a size that is a lie."""
    data = _saved(_photo(), "JPEG", progressive=True) or b""
    at = data.rindex(b"\xff\xda")
    sof = data.index(b"\xff\xc2")
    side = struct.pack(">HH", *rng.choice([(36, 48), (9999, 9999), (65_535, 1500), (65_535, 65_535)]))
    data = data[: sof + 5] + side + data[sof + 9 : at] + data[at:-2] * rng.choice([2, 40, 3000]) + b"\xff\xd9"
    return data[: 1 << 20]


def _webp_size(rng: random.Random) -> bytes:
    """A canvas of 16384 x 16384 around an image of 48 x 36."""
    data = _saved(_in_mode(_photo(), "RGBA"), "WEBP") or b""
    canvas = struct.pack("<I", 0x10) + (b"\xff\x3f\x00" * 2 if rng.random() < 0.5 else b"\xff\xff\xff" * 2)
    chunk = b"VP8X" + struct.pack("<I", 10) + canvas
    return data[:12] + chunk + data[12:]


_BOMBS: list[Callable[[random.Random], bytes]] = [
    _png_of_zeros, _strip, _gif_bomb, _tiff_loop, _jpeg_of_scans, _webp_size
]  # fmt: skip
