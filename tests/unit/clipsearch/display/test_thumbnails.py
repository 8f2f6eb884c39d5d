"""Small pictures, from files that nobody vouches for."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from PIL import Image

from clipsearch.display.thumbnails import NoImage, shrink
from tests.unit.clipsearch.web.fakes import picture


def opened(webp: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(webp))
    assert image.format == "WEBP"
    image.load()
    return image


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_every_format_that_is_indexed_can_be_shown(format):
    small = opened(shrink(picture(format=format), 160))
    assert small.size == (160, 107)
    red, green, blue = small.convert("RGB").getpixel((80, 50))
    assert red > 180
    assert max(green, blue) < 60


@pytest.mark.parametrize(("size", "shown"), [((20, 10), (20, 10)), ((4000, 2), (160, 1))])
def test_a_small_picture_is_not_blown_up_and_a_strip_keeps_a_pixel(size, shown):
    assert opened(shrink(picture(size=size), 160)).size == shown


@pytest.mark.parametrize("format", ["JPEG", "TIFF", "PNG", "WEBP"])
def test_it_stands_upright_and_tells_nothing_of_the_camera(format):
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "camera"
    small = shrink(picture(format=format, exif=exif), 160)
    assert opened(small).size == (107, 160)
    assert b"camera" not in small
    assert not opened(small).getexif()


def test_transparency_stays():
    image = Image.new("RGBA", (100, 100), (255, 0, 0, 0))
    data = io.BytesIO()
    image.save(data, "PNG")
    assert opened(shrink(data.getvalue(), 160)).mode == "RGBA"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "I;16", "I", "F"])
def test_modes(mode):
    image = Image.new(mode, (100, 100), 40_000 if mode == "I;16" else 0)
    data = io.BytesIO()
    image.save(data, "TIFF" if mode in ("CMYK", "F", "I") else "PNG")
    grey = opened(shrink(data.getvalue(), 160)).convert("L").getpixel((50, 50))
    assert grey == pytest.approx({"I;16": 156, "CMYK": 255}.get(mode, 0), abs=3)


def png(width: int, height: int) -> bytes:
    """The beginning of a PNG of this size, a hundred bytes long."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 100))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a picture",
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n",
        picture(format="PNG")[:200],
        picture(format="JPEG")[:300],
        png(11_000, 11_000),
        png(60_000, 60_000),
        png(5_000, 5_000),
        picture(format="JPEG") + b"\xff\xda" * 100,
    ],
    ids=["empty", "text", "svg", "ps", "cut png", "cut jpeg", "121 MP", "bomb", "25 MP, cut", "scans"],
)
def test_what_cannot_be_shown_is_said(data):
    with pytest.raises(NoImage):
        shrink(data, 160)
