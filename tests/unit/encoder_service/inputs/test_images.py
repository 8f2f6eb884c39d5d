"""Images that are fine, images that are not, and images made to do harm."""

from __future__ import annotations

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

from encoder_service.bundle import ImageRules
from encoder_service.inputs.errors import InputError
from encoder_service.inputs.headers.container import MAX_FRAMES
from encoder_service.inputs.headers.exif import orientation
from encoder_service.inputs.images import ImageInput, open_image
from tests.decoded import prepare_image
from tests.unit.encoder_service.inputs.corpus import VIDEO, chunk, oriented, saved, with_chunks

# Pillow warns of damaged metadata; the service turns that off.
pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning:PIL", "ignore::PIL.Image.DecompressionBombWarning"
)

RULES = ImageRules(size=16, resize="crop")
NOISE = Image.fromarray(np.random.default_rng(3).integers(0, 256, (48, 64, 3), dtype=np.uint8))


SAMPLES = {
    format: saved(NOISE, format, **options)
    for format, options in {
        "JPEG": {"quality": 90},
        "PNG": {},
        "WEBP": {"lossless": True},
        "GIF": {},
        "BMP": {},
        "TIFF": {"compression": "tiff_lzw"},
    }.items()
}


def refusal(data: bytes, **limits: int) -> str:
    """The reason why an image is refused."""
    with pytest.raises(InputError) as caught:
        prepare_image(data, RULES, **limits)
    return caught.value.reason


@pytest.mark.parametrize("format", SAMPLES)
def test_every_accepted_format_gives_the_square_and_says_what_it_was(format: str) -> None:
    prepared = prepare_image(SAMPLES[format], RULES)
    assert (prepared.pixels.shape, prepared.pixels.dtype) == ((16, 16, 3), np.uint8)
    mode = "P" if format == "GIF" else "RGB"
    assert prepared.input == ImageInput(width=64, height=48, format=format, mode=mode)


@pytest.mark.parametrize("resize", ["crop", "squash", "pad"])
@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (16, 16), (3, 2)])
def test_every_shape_becomes_the_square(resize: Any, size: tuple[int, int]) -> None:
    rules = ImageRules(size=16, resize=resize, pad_factor=1.1 if resize == "pad" else 1.0)
    pixels = prepare_image(saved(Image.new("RGB", size, (9, 8, 7)), "PNG"), rules).pixels
    assert pixels.shape == (16, 16, 3)
    assert (pixels == (9, 8, 7)).all(axis=-1).any()


def test_a_jpeg_with_further_images_behind_it_is_a_jpeg_with_frames() -> None:
    data = saved(NOISE, "MPO", save_all=True, append_images=[NOISE])
    done = prepare_image(data, RULES).input
    assert (done.format, done.frames) == ("JPEG", 2)


def test_an_image_over_the_byte_limit_names_limit_and_value() -> None:
    data = SAMPLES["PNG"]
    with pytest.raises(InputError, match=f"{len(data)} bytes, the limit is 1000") as caught:
        prepare_image(data, RULES, max_bytes=1000)
    assert caught.value.reason == "IMAGE_TOO_LARGE"


def test_an_empty_image() -> None:
    assert refusal(b"") == "IMAGE_EMPTY"


@pytest.mark.parametrize(
    "data",
    [
        b"hello",
        b"\0" * 100,
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%PDF-1.7",
        saved(NOISE, "ICO"),
        VIDEO,
    ],
)
def test_bytes_in_no_accepted_format(data: bytes) -> None:
    assert refusal(data) == "IMAGE_UNSUPPORTED_FORMAT"


@pytest.mark.parametrize("mode", ["I", "F"])
def test_32_bit_pixels_are_refused_because_they_do_not_say_what_is_white(mode: str) -> None:
    assert refusal(saved(Image.new(mode, (16, 16), 1), "TIFF")) == "IMAGE_UNSUPPORTED_FORMAT"


@pytest.mark.parametrize("format", SAMPLES)
def test_an_image_cut_in_its_pixels_is_truncated(format: str) -> None:
    reasons = ["IMAGE_TRUNCATED"]
    if format == "TIFF":  # it is read as a whole
        reasons.append("IMAGE_INVALID")
    assert refusal(SAMPLES[format][: len(SAMPLES[format]) * 2 // 3]) in reasons


@pytest.mark.parametrize("format", SAMPLES)
def test_an_image_cut_in_its_header_is_not_called_another_format(format: str) -> None:
    assert refusal(SAMPLES[format][:20]) in ("IMAGE_TRUNCATED", "IMAGE_INVALID")


def test_damaged_pixels() -> None:
    data = bytearray(SAMPLES["PNG"])
    start = data.index(b"IDAT") + 4
    data[start : start + 400] = bytes(400)
    assert refusal(bytes(data)) == "IMAGE_INVALID"


def png(width: int, height: int, rows: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


MIB = 2**20


def test_what_needs_more_memory_than_there_is_is_refused_by_its_header_with_both_numbers() -> None:
    with pytest.raises(InputError, match=r"takes \d+ MiB of memory, the limit is 64 MiB") as caught:
        prepare_image(png(10_000, 10_000), RULES, max_memory=64 * MIB)
    assert caught.value.reason == "IMAGE_TOO_MANY_PIXELS"
    assert int(caught.value.metadata["value"]) > 100_000_000 > int(caught.value.metadata["limit"])
    assert refusal(png(100_000, 100_000)) == "IMAGE_TOO_MANY_PIXELS"


def one_tile(edge: int) -> bytes:
    """A TIFF of 64 x 64 pixels in one tile of `edge` x `edge`, packed well."""
    data = bytearray(saved(NOISE.resize((64, 64)), "TIFF", compression="packbits", strip_size=10**6))
    first = struct.unpack_from("<I", data, 4)[0]
    for index in range(struct.unpack_from("<H", data, first)[0]):
        entry = first + 2 + 12 * index
        tag = struct.unpack_from("<H", data, entry)[0]
        if tag == 278:  # rows of a strip: make it the tile's width; its height takes the place of resolution
            struct.pack_into("<HHII", data, entry, 322, 4, 1, edge)
        elif tag in (273, 279):
            struct.pack_into("<H", data, entry, {273: 324, 279: 325}[tag])
        elif tag == 296 or tag == 284:
            struct.pack_into("<HHII", data, entry, 323, 4, 1, edge)
    return bytes(data)


def test_a_tile_larger_than_its_image_counts_in_full() -> None:
    assert refusal(one_tile(16_384), max_memory=512 * MIB) == "IMAGE_TOO_MANY_PIXELS"


def test_a_jpeg_that_is_scaled_while_it_is_decoded_is_cheap_and_one_in_passes_is_not() -> None:
    """The header alone decides, so the pixels need not be there."""
    data = resized_jpeg(saved(NOISE, "JPEG"), 16_000, 12_500)
    cheap = open_image(data, RULES, max_bytes=MIB, max_memory=64 * MIB)
    assert cheap.image.size == (2000, 1563)
    dear = resized_jpeg(saved(NOISE, "JPEG", progressive=True), 16_000, 12_500)
    assert refusal(dear, max_memory=64 * MIB) == "IMAGE_TOO_MANY_PIXELS"


def resized_jpeg(data: bytes, width: int, height: int) -> bytes:
    """A JPEG that says that it is of this size."""
    at = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


def test_a_gif_frame_larger_than_its_screen_counts_in_full() -> None:
    data = bytearray(saved(Image.new("P", (4, 4)), "GIF"))
    at = data.index(b"\x2c\0\0\0\0\4\0\4\0")
    data[at + 5 : at + 9] = struct.pack("<HH", 60_000, 60_000)
    assert refusal(bytes(data)) == "IMAGE_TOO_MANY_PIXELS"


def test_a_webp_counts_with_its_canvas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # as the service does
    frames = [Image.new("RGB", (16, 16), (100 * n, 0, 0)) for n in range(2)]
    data = bytearray(saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True))
    canvas = data.index(b"VP8X") + 12
    data[canvas : canvas + 6] = b"\xfe\x3f\0" * 2
    assert refusal(bytes(data)) == "IMAGE_TOO_MANY_PIXELS"


def progressive(scans: int) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    data = saved(NOISE, "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * (scans - data.count(b"\xff\xda")) + data[-2:]


def test_scans_of_a_progressive_jpeg_count_with_its_pixels() -> None:
    data = progressive(1000)
    assert open_image(data, RULES, max_bytes=MIB, max_memory=1024 * MIB).container.seconds < 0.1
    prepare_image(data, RULES)
    with pytest.raises(InputError, match=r"about \d+ s of a core, the limit is 10 s") as caught:
        prepare_image(resized_jpeg(data, 12_000, 9_000), RULES, max_memory=10_000 * MIB)
    assert caught.value.reason == "IMAGE_TOO_MANY_PIXELS"


def many_gif_frames(count: int) -> bytes:
    one = saved(Image.new("P", (2, 2)), "GIF")
    start = one.index(b"\x2c\0\0\0\0\2\0\2\0")
    return one[:start] + one[start:-1] * count + b";"


def linked_tiff() -> tuple[bytes, int, int]:
    """A TIFF, where its directory begins, and where the place of the next one stands."""
    one = saved(Image.new("L", (4, 4)), "TIFF")
    first = struct.unpack_from("<I", one, 4)[0]
    return one, first, first + 2 + 12 * struct.unpack_from("<H", one, first)[0]


def many_tiff_pages(count: int) -> bytes:
    """An image, then directories without entries, 6 bytes each."""
    one, _, link = linked_tiff()
    pages = b"".join(struct.pack("<HI", 0, len(one) + 6 * (i + 1)) for i in range(count))
    return one[:link] + struct.pack("<I", len(one)) + one[link + 4 :] + pages


@pytest.mark.parametrize("many", [many_gif_frames, many_tiff_pages], ids=["GIF", "TIFF"])
def test_counting_frames_of_a_hostile_file_stops(many: Callable[[int], bytes]) -> None:
    def seconds(data: bytes) -> float:
        start = time.process_time()
        assert prepare_image(data, RULES).input.frames == MAX_FRAMES
        return time.process_time() - start

    enough, hostile = many(2 * MAX_FRAMES), many(300 * MAX_FRAMES)
    assert min(seconds(hostile) for _ in range(3)) < 30 * min(seconds(enough) for _ in range(3))


def test_a_tiff_whose_pages_form_a_ring() -> None:
    one, first, link = linked_tiff()
    ring = one[:link] + struct.pack("<I", first) + one[link + 4 :]
    assert prepare_image(ring, RULES).input.frames == 1


def test_a_png_of_a_palette_that_is_not_there() -> None:
    data = saved(NOISE.quantize(8), "PNG")
    start = data.index(b"PLTE") - 4
    end = data.index(b"IDAT") - 4
    assert refusal(data[:start] + data[end:]) == "IMAGE_INVALID"


def test_a_tiff_of_64_bits_whose_directory_is_past_all_numbers() -> None:
    assert refusal(b"II+\0\x08\0\0\0" + b"\xff" * 8 + bytes(100)) == "IMAGE_TRUNCATED"


def test_exif_that_means_nothing_is_no_orientation() -> None:
    assert prepare_image(saved(NOISE, "JPEG", exif=oriented(99)), RULES).input.orientation == 1


@pytest.mark.parametrize(("prefixes", "upright"), [(0, 6), (1, 6), (2, 6), (3, 1), (175_000, 1)])
def test_no_more_than_two_prefixes_of_exif_are_taken_off(prefixes: int, upright: int) -> None:
    exif = b"Exif\0\0" * prefixes + oriented(6).tobytes().removeprefix(b"Exif\0\0")
    ignored = ("EXIF that cannot be read",) if upright == 1 else ()
    assert orientation(exif) == (upright, ignored)
    image = with_chunks(SAMPLES["PNG"], chunk(b"eXIf", exif))
    assert prepare_image(image, RULES).input.orientation == upright


def test_the_message_of_a_refusal_holds_nothing_of_the_machine() -> None:
    for data in (b"", b"hello", SAMPLES["PNG"][:300], SAMPLES["JPEG"][:300]):
        with pytest.raises(InputError) as caught:
            prepare_image(data, RULES)
        assert "/" not in caught.value.message
        assert "0x" not in caught.value.message


@settings(max_examples=150, deadline=None)
@given(
    format=st.sampled_from(sorted(SAMPLES)),
    edits=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=4)), max_size=6),
    keep=st.floats(0.05, 1),
)
def test_damaged_bytes_give_an_image_or_a_refusal_and_nothing_else(
    format: str, edits: list[tuple[float, bytes]], keep: float
) -> None:
    data = bytearray(SAMPLES[format])
    for place, new in edits:
        at = int(place * (len(data) - 4))
        data[at : at + len(new)] = new
    try:
        shape = prepare_image(bytes(data[: int(keep * len(data))]), RULES).pixels.shape
    except InputError as refused:
        shape = (16, 16, 3) if refused.reason.startswith("IMAGE_") else ()
    assert shape == (16, 16, 3)
