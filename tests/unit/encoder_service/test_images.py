"""Pictures that are fine, pictures that are not, and pictures made to do harm."""

from __future__ import annotations

import io
import struct
import time
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clipsearch.serving.errors import InvalidArgument
from encoder_service.bundle import ImageRules
from encoder_service.frames import MAX_COUNTED
from encoder_service.images import MAX_SCANS, ImageInput, ImageLimits, prepare_image

# Pillow warns of damaged metadata; the service turns that off.
pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning:PIL", "ignore::PIL.Image.DecompressionBombWarning"
)

RULES = ImageRules(size=16, resize="crop")
NOISE = Image.fromarray(np.random.default_rng(3).integers(0, 256, (48, 64, 3), dtype=np.uint8))


def encode(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


SAMPLES = {
    format: encode(NOISE, format, **options)
    for format, options in {
        "JPEG": {"quality": 90},
        "PNG": {},
        "WEBP": {"lossless": True},
        "GIF": {},
        "BMP": {},
        "TIFF": {"compression": "tiff_lzw"},
    }.items()
}


def refusal(data: bytes, limits: ImageLimits | None = None) -> str:
    """The reason why a picture is refused."""
    with pytest.raises(InvalidArgument) as caught:
        prepare_image(data, RULES, limits)
    assert caught.value.field == "image"
    return caught.value.reason


@pytest.mark.parametrize("format", SAMPLES)
def test_every_accepted_format_gives_the_square_and_says_what_it_was(format: str) -> None:
    picture = prepare_image(SAMPLES[format], RULES)
    assert (picture.pixels.shape, picture.pixels.dtype) == ((16, 16, 3), np.uint8)
    mode = "P" if format == "GIF" else "RGB"
    assert picture.input == ImageInput(width=64, height=48, format=format, mode=mode)


@pytest.mark.parametrize("resize", ["crop", "squash", "pad"])
@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (16, 16), (3, 2)])
def test_every_shape_becomes_the_square(resize: Any, size: tuple[int, int]) -> None:
    rules = ImageRules(size=16, resize=resize, pad_factor=1.1 if resize == "pad" else 1.0)
    pixels = prepare_image(encode(Image.new("RGB", size, (9, 8, 7)), "PNG"), rules).pixels
    assert pixels.shape == (16, 16, 3)
    assert (pixels == (9, 8, 7)).all(axis=-1).any()


def test_a_jpeg_with_further_pictures_behind_it_is_a_jpeg_with_frames() -> None:
    data = encode(NOISE, "MPO", save_all=True, append_images=[NOISE])
    done = prepare_image(data, RULES).input
    assert (done.format, done.frames) == ("JPEG", 2)


def test_an_empty_picture() -> None:
    assert refusal(b"") == "IMAGE_EMPTY"


def test_a_picture_over_the_byte_limit_names_limit_and_value() -> None:
    data = SAMPLES["PNG"]
    with pytest.raises(InvalidArgument, match=f"{len(data)} bytes, the limit is 1000") as caught:
        prepare_image(data, RULES, ImageLimits(max_bytes=1000))
    assert caught.value.reason == "IMAGE_TOO_LARGE"


@pytest.mark.parametrize(
    "data",
    [b"hello", b"\0" * 100, b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7", encode(NOISE, "ICO")],
)
def test_bytes_in_no_accepted_format(data: bytes) -> None:
    assert refusal(data) == "IMAGE_UNSUPPORTED_FORMAT"


@pytest.mark.parametrize("mode", ["I", "F"])
def test_32_bit_pixels_are_refused_because_they_do_not_say_what_is_white(mode: str) -> None:
    assert refusal(encode(Image.new(mode, (16, 16), 1), "TIFF")) == "IMAGE_UNSUPPORTED_FORMAT"


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "BMP"])
def test_a_picture_cut_in_its_pixels_is_truncated(format: str) -> None:
    assert refusal(SAMPLES[format][: len(SAMPLES[format]) * 2 // 3]) == "IMAGE_TRUNCATED"


@pytest.mark.parametrize("format", ["WEBP", "TIFF"])
def test_a_cut_picture_of_a_format_that_is_read_as_a_whole_is_refused(format: str) -> None:
    assert refusal(SAMPLES[format][: len(SAMPLES[format]) * 2 // 3]) in ("IMAGE_TRUNCATED", "IMAGE_INVALID")


@pytest.mark.parametrize("format", SAMPLES)
def test_a_picture_cut_in_its_header_is_not_called_another_format(format: str) -> None:
    assert refusal(SAMPLES[format][:20]) in ("IMAGE_TRUNCATED", "IMAGE_INVALID")


def test_damaged_pixels() -> None:
    data = bytearray(SAMPLES["PNG"])
    start = data.index(b"IDAT") + 4
    data[start : start + 400] = bytes(400)
    assert refusal(bytes(data)) == "IMAGE_INVALID"


def png(width: int, height: int, rows: bytes = b"") -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_a_decompression_bomb_is_refused_by_its_header() -> None:
    assert refusal(png(10_001, 10_000)) == "IMAGE_TOO_MANY_PIXELS"
    assert refusal(png(100_000, 100_000)) == "IMAGE_TOO_MANY_PIXELS"
    assert refusal(png(2, 3), ImageLimits(max_pixels=5)) == "IMAGE_TOO_MANY_PIXELS"


def test_a_gif_frame_larger_than_its_screen_counts_in_full() -> None:
    data = bytearray(encode(Image.new("P", (4, 4)), "GIF"))
    at = data.index(b"\x2c\0\0\0\0\4\0\4\0")
    data[at + 5 : at + 9] = struct.pack("<HH", 60_000, 60_000)
    assert refusal(bytes(data)) == "IMAGE_TOO_MANY_PIXELS"


def progressive(scans: int) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    data = encode(NOISE, "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * (scans - data.count(b"\xff\xda")) + data[-2:]


def test_a_progressive_jpeg_has_a_bounded_number_of_scans() -> None:
    prepare_image(progressive(MAX_SCANS), RULES)
    assert refusal(progressive(MAX_SCANS + 1)) == "IMAGE_INVALID"


def many_gif_frames(count: int) -> bytes:
    one = encode(Image.new("P", (2, 2)), "GIF")
    start = one.index(b"\x2c\0\0\0\0\2\0\2\0")
    return one[:start] + one[start:-1] * count + b";"


def many_tiff_pages(count: int) -> bytes:
    """A picture, then directories without entries, 6 bytes each."""
    one = encode(Image.new("L", (4, 4)), "TIFF")
    first = struct.unpack_from("<I", one, 4)[0]
    link = first + 2 + 12 * struct.unpack_from("<H", one, first)[0]
    pages = b"".join(struct.pack("<HI", 0, len(one) + 6 * (i + 1)) for i in range(count))
    return one[:link] + struct.pack("<I", len(one)) + one[link + 4 :] + pages


@pytest.mark.parametrize("many", [many_gif_frames, many_tiff_pages], ids=["GIF", "TIFF"])
def test_counting_frames_of_a_hostile_file_stops(many: Callable[[int], bytes]) -> None:
    def seconds(data: bytes) -> float:
        start = time.process_time()
        assert prepare_image(data, RULES).input.frames == MAX_COUNTED
        return time.process_time() - start

    enough, hostile = many(2 * MAX_COUNTED), many(300 * MAX_COUNTED)
    assert min(seconds(hostile) for _ in range(3)) < 30 * min(seconds(enough) for _ in range(3))


def test_a_tiff_whose_pages_form_a_ring() -> None:
    one = bytearray(encode(Image.new("L", (4, 4)), "TIFF"))
    first = struct.unpack_from("<I", one, 4)[0]
    link = first + 2 + 12 * struct.unpack_from("<H", one, first)[0]
    one[link : link + 4] = struct.pack("<I", first)
    assert prepare_image(bytes(one), RULES).input.frames == 1


def test_exif_that_means_nothing_is_no_orientation() -> None:
    exif = Image.Exif()
    exif[0x0112] = 99
    assert prepare_image(encode(NOISE, "JPEG", exif=exif), RULES).input.orientation == 1


def test_the_message_of_a_refusal_holds_nothing_of_the_machine() -> None:
    for data in (b"", b"hello", SAMPLES["PNG"][:300], SAMPLES["JPEG"][:300]):
        with pytest.raises(InvalidArgument) as caught:
            prepare_image(data, RULES)
        assert "/" not in caught.value.message
        assert "0x" not in caught.value.message


@settings(max_examples=150, deadline=None)
@given(
    format=st.sampled_from(sorted(SAMPLES)),
    edits=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=4)), max_size=6),
    keep=st.floats(0.05, 1),
)
def test_damaged_bytes_give_a_picture_or_a_refusal_and_nothing_else(
    format: str, edits: list[tuple[float, bytes]], keep: float
) -> None:
    data = bytearray(SAMPLES[format])
    for place, new in edits:
        at = int(place * (len(data) - 4))
        data[at : at + len(new)] = new
    try:
        shape = prepare_image(bytes(data[: int(keep * len(data))]), RULES).pixels.shape
    except InvalidArgument as refused:
        shape = (16, 16, 3) if refused.reason.startswith("IMAGE_") else ()
    assert shape == (16, 16, 3)
