"""Greys, palettes, transparency and gaps that Pillow by itself reads as something else, without a word."""

from __future__ import annotations

import contextlib
import struct
import time
import zlib
from collections.abc import Sequence
from unittest.mock import Mock

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from encoder_service.bundle import ImageRules
from encoder_service.inputs.errors import InputError
from encoder_service.inputs.headers import png
from encoder_service.inputs.pixels import fit
from tests.decoded import prepare_image
from tests.unit.encoder_service.inputs.corpus import chunk, oriented, saved, with_chunks
from tests.unit.encoder_service.inputs.tiff_file import tiff

# Pillow warns of damaged metadata; the service turns that off.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

RULES = ImageRules(size=32, resize="crop")
GREY = np.asarray(Image.linear_gradient("L").resize((40, 34)))
COLOURED = Image.fromarray(np.stack([GREY, 255 - GREY, np.roll(GREY, 9, 0)], -1))
DEEP = GREY.astype(np.uint16) * 257
ORIENTATION, BITS, PHOTOMETRIC, COLOURS, SAMPLE_FORMAT = 274, 258, 262, 320, 339


def difference(data: bytes, seen: NDArray[np.uint8] | Image.Image) -> float:
    """To what is to be seen, of 255."""
    image = seen if isinstance(seen, Image.Image) else Image.fromarray(seen)
    wanted = np.asarray(fit(image.convert("RGB"), RULES)).astype(int)
    return float(np.abs(prepare_image(data, RULES).pixels - wanted).mean())


def refusal(data: bytes) -> tuple[str, str]:
    with pytest.raises(InputError) as caught:
        prepare_image(data, RULES)
    return caught.value.reason, caught.value.message


def grey_tiff(pixels: bytes, bits: int, photometric: int, **tags: Sequence[int]) -> bytes:
    """One strip; `tags` are SHORTs by t and their number."""
    height, width = GREY.shape
    numbers: dict[int, Sequence[int]] = {
        **{256: [width], 257: [height], BITS: [bits], 259: [1], PHOTOMETRIC: [photometric], 273: [8]},
        **{277: [1], 278: [height], 279: [len(pixels)]},
        **{int(name[1:]): values for name, values in tags.items()},
    }
    entries, behind = b"", b""
    for tag, values in sorted(numbers.items()):
        packed = struct.pack(f"<{len(values)}H", *values)
        if len(packed) > 4:
            at = 8 + len(pixels) + len(behind)
            behind += packed
            packed = struct.pack("<I", at)
        entries += struct.pack("<HHI4s", tag, 3, len(values), packed)
    directory = struct.pack("<H", len(numbers)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(pixels) + len(behind)) + pixels + behind + directory


def test_16_bits_of_which_0_is_white() -> None:
    assert difference(grey_tiff((65535 - DEEP).astype("<u2").tobytes(), 16, 0), GREY) == 0
    assert difference(grey_tiff(DEEP.astype("<u2").tobytes(), 16, 1), GREY) == 0


def test_12_bits_are_not_16() -> None:
    even, odd = (DEEP >> 4)[:, ::2], (DEEP >> 4)[:, 1::2]
    packed = np.stack([even >> 4, (even & 15) << 4 | odd >> 8, odd & 255], -1)
    assert difference(grey_tiff(packed.astype(np.uint8).tobytes(), 12, 1), GREY) == 0


@pytest.mark.parametrize("bits", [8, 16])
def test_signed_pixels_are_refused(bits: int) -> None:
    data = grey_tiff(bytes(GREY.size * bits // 8), bits, 1, t339=[2])
    assert refusal(data) == ("IMAGE_UNSUPPORTED_FORMAT", "signed pixels do not say what is white")


def test_a_palette_of_8_bits_in_a_tiff() -> None:
    reversed_greys = list(range(255, -1, -1))
    data = grey_tiff((255 - GREY).tobytes(), 8, 3, t320=reversed_greys * 3)
    assert difference(data, GREY) == 0


@pytest.mark.parametrize("kind", range(13))
def test_numbers_of_any_type_in_a_tiff_s_palette_are_read_or_refused(kind: int) -> None:
    for data in (
        grey_tiff(GREY.tobytes(), 8, 3, t320=[7] * 768),
        grey_tiff(DEEP.astype("<u2").tobytes(), 16, 1),
    ):
        changed = bytearray(data)
        at = struct.unpack_from("<I", data, 4)[0]
        for entry in range(at + 2, at + 2 + 12 * struct.unpack_from("<H", data, at)[0], 12):
            if struct.unpack_from("<H", data, entry)[0] in (BITS, COLOURS):
                struct.pack_into("<H", changed, entry + 2, kind)
        with contextlib.suppress(InputError):
            prepare_image(bytes(changed), RULES)


def test_a_png_of_two_headers_is_refused() -> None:
    plain = saved(COLOURED, "PNG")
    huge = chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0))
    assert refusal(with_chunks(plain, huge))[0] == "IMAGE_INVALID"


def test_grey_that_is_multiplied_by_its_alpha() -> None:
    alpha = np.full_like(GREY, 128)
    data = grey_tiff(np.dstack([GREY // 2, alpha]).tobytes(), 8, 1, t258=[8, 8], t277=[2], t338=[1])
    assert difference(data, (GREY // 2 + 127).astype(np.uint8)) < 2
    assert prepare_image(data, RULES).input.alpha_composited


@pytest.mark.parametrize("options", [{}, {"planar": True}, {"tile": 16}])
def test_a_tiff_that_lists_too_few_strips_or_tiles_is_truncated(options: dict[str, int]) -> None:
    data = bytearray(tiff(COLOURED, **options))  # type: ignore[arg-type]
    at = struct.unpack_from("<I", data, 4)[0]
    for entry in range(at + 2, at + 2 + 12 * struct.unpack_from("<H", data, at)[0], 12):
        tag, _, count = struct.unpack_from("<HHI", data, entry)
        if tag in (273, 324):
            struct.pack_into("<I", data, entry + 4, count - 1)
    assert refusal(bytes(data)) == ("IMAGE_TRUNCATED", "the data ends before the image does")


def grey_png(values: NDArray[np.uint8] | NDArray[np.uint16], depth: int, transparent: int) -> bytes:
    height, width = values.shape
    if depth == 16:
        rows = values.astype(">u2").tobytes()
    else:
        bits = np.unpackbits(values.astype(np.uint8)[..., None], axis=-1)[..., 8 - depth :]
        rows = np.packbits(bits.reshape(height, -1), axis=1).tobytes()
    step = len(rows) // height
    packed = zlib.compress(b"".join(b"\0" + rows[at : at + step] for at in range(0, len(rows), step)))
    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    parts = [(b"IHDR", header), (b"tRNS", struct.pack(">H", transparent)), (b"IDAT", packed), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, body) for name, body in parts)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_transparent_grey_is_that_of_the_file_s_own_bits(depth: int) -> None:
    values = DEEP >> (16 - depth)
    transparent = int(values[20, 20])
    seen = (values.astype(int) * 255 // ((1 << depth) - 1)).astype(np.uint8)
    seen[values == transparent] = 255
    data = grey_png(values, depth, transparent)
    assert difference(data, seen) < 0.5
    assert prepare_image(data, RULES).input.alpha_composited


@pytest.mark.parametrize("interlaced", [False, True])
def test_a_png_of_too_few_rows_is_truncated(interlaced: bool) -> None:
    width, height = COLOURED.size
    row = bytes([0, *[0 if interlaced else 200] * 3 * width])
    rows = zlib.compress(row * (height // 2))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, interlaced)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    assert refusal(b"\x89PNG\r\n\x1a\n" + body)[0] == "IMAGE_TRUNCATED"


@pytest.mark.parametrize(
    ("kind", "depth", "samples"), [(0, 1, 1), (0, 16, 1), (4, 8, 2), (3, 8, 1), (6, 8, 4)]
)
def test_so_is_one_of_every_kind_without_its_last_row(kind: int, depth: int, samples: int) -> None:
    row = bytes([0, *[200] * (40 * samples * depth // 8)])
    body = chunk(b"IHDR", struct.pack(">IIBBBBB", 40, 34, depth, kind, 0, 0, 0))
    body += chunk(b"PLTE", bytes(768)) if kind == 3 else b""
    body += chunk(b"IDAT", zlib.compress(row * 33)) + chunk(b"IEND", b"")
    assert refusal(b"\x89PNG\r\n\x1a\n" + body)[0] == "IMAGE_TRUNCATED"


@pytest.mark.parametrize("end", [0, 0xA5, 255])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_a_png_that_ends_in_one_colour_is_whole(mode: str, end: int) -> None:
    image = COLOURED.convert(mode)
    colour = (end,) * len(image.getbands())
    image.paste(Image.new(mode, (image.width, 5), colour), (0, image.height - 5))
    prepare_image(saved(image, "PNG"), RULES)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_a_png_that_ends_black_or_transparent_is_unpacked_once(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = COLOURED.convert(mode)
    image.paste(Image.new(mode, (image.width, 5)), (0, image.height - 5))
    monkeypatch.setattr(png, "lacks_rows", Mock(side_effect=AssertionError("unpacked again")))
    prepare_image(saved(image, "PNG"), RULES)


XMP = b'<rdf:Description tiff:Orientation="6"/>'
RAW = b"\nexif\n      20\n" + oriented(6).tobytes().hex().encode()
METADATA = {
    "eXIf": chunk(b"eXIf", oriented(6).tobytes()[6:]),
    "XMP": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
    "XMP, compressed": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP)),
    "raw profile": chunk(b"tEXt", b"Raw profile type exif\0" + RAW),
}


@pytest.mark.parametrize("metadata", METADATA)
@pytest.mark.parametrize("behind", [False, True])
def test_a_png_s_orientation_is_found_before_its_pixels_and_behind_other_chunks(
    metadata: str, behind: bool
) -> None:
    plain, said = saved(COLOURED, "PNG"), METADATA[metadata]
    date = chunk(b"tEXt", b"date:create\0" + b"2024-01-01")
    data = plain[:-12] + date + said + plain[-12:] if behind else with_chunks(plain, said)
    assert prepare_image(data, RULES).input.orientation == 6
    assert difference(data, COLOURED.transpose(Image.Transpose.ROTATE_270)) < 0.5


def test_metadata_behind_the_end_of_a_png_is_not_its_own() -> None:
    assert prepare_image(saved(COLOURED, "PNG") + METADATA["eXIf"], RULES).input.orientation == 1


def test_a_png_of_many_empty_raw_profiles_takes_no_longer_than_one_of_other_text() -> None:
    def seconds(keyword: bytes) -> float:
        text = chunk(b"zTXt", keyword + b"\0\0" + zlib.compress(b"x" * 256 * 1024))
        data = with_chunks(saved(COLOURED, "PNG"), *[text] * 2000)
        start = time.process_time()
        prepare_image(data, RULES)
        return time.process_time() - start

    assert min(seconds(b"Raw profile type exif") for _ in range(3)) < 20 * seconds(b"Raw profile type other")


def test_a_png_of_more_chunks_than_are_looked_at_is_refused() -> None:
    data = with_chunks(saved(COLOURED, "PNG"), *[chunk(b"tEXt", b"")] * 100_000)
    assert refusal(data) == ("IMAGE_INVALID", "a PNG of more than 100000 chunks")


def test_what_lies_around_the_first_frame_of_a_gif_is_white() -> None:
    palette = COLOURED.quantize(32)
    data = bytearray(saved(palette, "GIF"))
    struct.pack_into("<HH", data, 6, 60, 50)
    frame = data.index(b",\0\0\0\0" + struct.pack("<HH", *COLOURED.size))
    struct.pack_into("<HH", data, frame + 1, 10, 7)
    seen = Image.new("RGB", (60, 50), (255, 255, 255))
    seen.paste(palette.convert("RGB"), (10, 7))
    assert difference(bytes(data), seen) == 0
    assert prepare_image(bytes(data), RULES).input.alpha_composited
