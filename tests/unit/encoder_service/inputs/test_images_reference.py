"""Preprocessing against transformers' CLIP processor, and golden values where it defines nothing.

The reference is what transformers documents: `load_image` (EXIF orientation, RGB), then the CLIP
image processor on Pillow.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from encoder_service.bundle import ImageRules
from encoder_service.inputs import pixels
from tests.decoded import prepare_image
from tests.unit.encoder_service.inputs.corpus import oriented, saved

pytestmark = pytest.mark.slow  # transformers' processor beside ours
CROP = ImageRules(size=224, resize="crop")
SQUASH = ImageRules(size=224, resize="squash")
BOUND = 0.5  # mean difference, of 255


exact = pytest.mark.usefixtures("pillow_alone")


@pytest.fixture
def pillow_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where there is no SIMD: next to no difference is left then."""
    monkeypatch.setattr(pixels, "simd", None)


def reference(data: bytes, folder: Path, processor: Any = None) -> NDArray[np.float64]:
    from transformers.image_utils import load_image
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    file = folder / "reference"
    file.write_bytes(data)
    processor = processor or CLIPImageProcessorPil(do_normalize=False, do_rescale=False)
    pixels = processor(load_image(str(file)), return_tensors="np")["pixel_values"][0]
    return np.asarray(pixels, dtype=np.float64).transpose(1, 2, 0)


def difference(data: bytes, folder: Path) -> float:
    return float(np.abs(prepare_image(data, CROP).pixels - reference(data, folder)).mean())


@pytest.mark.slow
@pytest.mark.parametrize("size", [(640, 480), (1920, 1080), (4000, 3000)])
def test_photos_of_any_size_agree(photos: list[Path], size: tuple[int, int], tmp_path: Path) -> None:
    worst = {}
    for path in photos[:: 1 if size[0] < 1000 else 3]:  # large ones take long
        image = Image.open(path).convert("RGB").resize(size)
        worst[path.stem] = difference(saved(image, "JPEG", quality=90), tmp_path)
    assert max(worst.values()) <= BOUND, worst


@exact
@pytest.mark.parametrize(
    ("size", "bound"),
    [
        *((size, 0.02) for size in [(224, 224), (225, 224), (31, 200), (601, 333), (333, 601), (97, 300)]),
        *((size, BOUND) for size in [(1000, 97), (97, 1000)]),
    ],
)
def test_without_scaling_in_the_decoder_every_shape_agrees(
    photo: Image.Image, size: tuple[int, int], bound: float, tmp_path: Path
) -> None:
    assert difference(saved(photo.resize(size), "PNG"), tmp_path) <= bound


@exact
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_agrees(photo: Image.Image, orientation: int, format: str, tmp_path: Path) -> None:
    data = saved(photo.resize((601, 333)), format, exif=oriented(orientation))
    assert difference(data, tmp_path) < 0.02
    done = prepare_image(data, CROP).input
    assert (done.orientation, done.width, done.height) == (orientation, 601, 333)


@exact
@pytest.mark.parametrize(
    ("mode", "format"),
    [
        ("L", "PNG"),
        ("L", "JPEG"),
        ("1", "PNG"),
        ("P", "PNG"),
        ("P", "GIF"),
        ("CMYK", "JPEG"),
        ("CMYK", "TIFF"),
    ],
)
def test_pixel_modes_agree(photo: Image.Image, mode: str, format: str, tmp_path: Path) -> None:
    data = saved(photo.convert(mode), format)
    assert difference(data, tmp_path) < 0.02
    assert prepare_image(data, CROP).input.mode == mode


@exact
@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
def test_an_opaque_alpha_channel_agrees(photo: Image.Image, format: str, tmp_path: Path) -> None:
    data = saved(photo.convert("RGBA"), format)
    assert difference(data, tmp_path) < 0.02
    assert not prepare_image(data, CROP).input.alpha_composited


@exact
def test_squash_agrees_with_the_siglip_processor(photo: Image.Image, tmp_path: Path) -> None:
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    processor = SiglipImageProcessorPil(
        size={"height": 224, "width": 224}, resample=3, do_normalize=False, do_rescale=False
    )
    data = saved(photo, "PNG")
    ours = prepare_image(data, SQUASH).pixels
    assert np.abs(ours - reference(data, tmp_path, processor)).mean() < 0.02


@pytest.mark.skipif(pixels.simd is None, reason="cykooz.resizer is not installed")
@pytest.mark.parametrize("resize", ["crop", "squash", "pad"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "lanczos"])
def test_simd_resizes_as_pillow_does(
    photo: Image.Image, resize: Any, interpolation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = ImageRules(size=224, resize=resize, interpolation=interpolation)
    for size in ((640, 480), (333, 601), (224, 224), (225, 3000)):
        data = saved(photo.resize(size), "PNG", compress_level=1)
        fast = prepare_image(data, rules).pixels.astype(int)
        with monkeypatch.context() as patch:
            patch.setattr(pixels, "simd", None)
            difference = np.abs(fast - prepare_image(data, rules).pixels)
        assert difference.mean() < 0.25
        assert difference.max() <= 16


def flat(colour: Any, mode: str = "RGBA", size: tuple[int, int] = (16, 16), **options: Any) -> bytes:
    return saved(Image.new(mode, size, colour), options.pop("format", "PNG"), **options)


SMALL = ImageRules(size=8, resize="crop")


def only_colour(data: bytes, rules: ImageRules = SMALL) -> tuple[int, ...]:
    """The one colour of the prepared image."""
    colours = np.unique(prepare_image(data, rules).pixels.reshape(-1, 3), axis=0)
    assert len(colours) == 1
    return tuple(int(value) for value in colours[0])


@pytest.mark.parametrize(
    ("colour", "golden"),
    [((0, 0, 0, 0), (255, 255, 255)), ((255, 0, 0, 128), (255, 127, 127)), ((0, 0, 0, 51), (204, 204, 204))],
)
def test_rule_alpha_is_composited_on_white(colour: tuple[int, ...], golden: tuple[int, ...]) -> None:
    data = flat(colour)
    assert only_colour(data) == golden
    assert prepare_image(data, SMALL).input.alpha_composited


def test_rule_a_transparent_palette_entry_and_a_transparent_grey_become_white() -> None:
    palette = Image.new("P", (16, 16), 3)
    palette.putpalette([9] * 768)
    assert only_colour(saved(palette, "PNG", transparency=3)) == (255, 255, 255)
    assert only_colour(saved(palette, "GIF", transparency=3)) == (255, 255, 255)
    assert only_colour(flat(7, "L", transparency=7)) == (255, 255, 255)
    assert only_colour(flat((1, 2, 3), "RGB", transparency=(1, 2, 3))) == (255, 255, 255)
    assert only_colour(flat((40, 128), "LA")) == (147, 147, 147)


@pytest.mark.parametrize(("value", "golden"), [(0, 0), (255, 0), (256, 1), (0x8000, 128), (65535, 255)])
@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_rule_16_bit_grey_keeps_its_high_byte(value: int, golden: int, format: str) -> None:
    image = Image.fromarray(np.full((16, 16), value, dtype=np.uint16))
    assert only_colour(saved(image, format)) == (golden,) * 3


def test_rule_16_bit_grey_in_big_endian_order_keeps_its_high_byte() -> None:
    little = saved(Image.fromarray(np.full((16, 16), 0x8001, dtype=np.uint16)), "TIFF")
    big = saved(Image.frombytes("I;16B", (16, 16), b"\x80\x01" * 256), "TIFF")
    assert prepare_image(big, SMALL).input.mode == "I;16B"
    assert only_colour(big) == only_colour(little) == (128, 128, 128)


def test_rule_an_animation_is_its_first_frame() -> None:
    red, green = Image.new("RGB", (16, 16), (255, 0, 0)), Image.new("RGB", (16, 16), (0, 255, 0))
    for format, options in (("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})):
        data = saved(red, format, save_all=True, append_images=[green, red], **options)
        assert only_colour(data) == (255, 0, 0)
        assert prepare_image(data, SMALL).input.frames == 3


def test_rule_pad_puts_the_image_in_the_middle_of_its_background() -> None:
    rules = ImageRules(size=20, resize="pad", pad_factor=1.25, background=(1, 2, 3))
    pixels = prepare_image(flat((255, 0, 0), "RGB", (100, 50)), rules).pixels
    inside = (pixels == (255, 0, 0)).all(axis=-1)
    # 100 x 50 in a square of 125, at 20 pixels: 16 x 8, in the middle.
    assert inside.sum() == 16 * 8
    assert inside[6:14, 2:18].all()
    assert (pixels[~inside] == (1, 2, 3)).all()
