"""A decoded image to the square that the model sees: upright, RGB, resized. `export` uses it too.

Nothing but the decoded image itself is held at full size. Converting, compositing and turning a large one
are done in bands of rows, and each band is resized horizontally at once. Pillow works in this order too, and
the result is the same to the bit, unless an image is higher than wide: noise then differs by 0.4 of 255 on
average.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import PIL
from PIL import Image

from encoder_service.bundle import ImageRules
from encoder_service.inputs.errors import InputError, faults_of_the_file

try:
    import cykooz_resizer as simd
except ImportError:
    simd = None
# It works on Pillow's own memory, whose layout is no API; this is the version that the tests ran with.
if PIL.__version__.split(".")[0] != "13":
    simd = None

# Pixels that are converted at once; the most that a pixel takes on the way, bytes (cut out, as RGBA, its
# alpha, composited, turned).
_BAND = 1 << 19
_BAND_BYTES = 17

# Height over width from which an image is resized in part only.
_STRIP = 4

WHITE = (255, 255, 255)

# What an image's info may say of its 16-bit greys: how many of the bits are used (16, where it does not say),
# and whether 0 is white.
GREY_BITS, GREY_INVERTED = "grey_bits", "grey_inverted"
_FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
}
_SIMD_FILTERS = {"bicubic": "catmull_rom", "bilinear": "bilinear", "lanczos": "lanczos3"}
_SUPPORT = {"bicubic": 2, "bilinear": 1, "lanczos": 3}
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPS_SIDES = (5, 6, 7, 8)

Box = tuple[float, float, float, float]
Pixels = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Target:
    """What an upright image is resized to, from which part of it, and where its middle is cut."""

    size: tuple[int, int]
    box: Box
    top: int = 0

    def reach(self, rules: ImageRules, size: tuple[int, int]) -> Pixels:
        """The pixels that the result depends on: left, top, right, bottom."""
        edges = []
        for axis in (0, 1):
            low, high = self.box[axis], self.box[axis + 2]
            scale = max(1.0, (high - low) / self.size[axis])
            margin = math.ceil(_SUPPORT[rules.interpolation] * scale) + 1
            edges.append((max(0, math.floor(low) - margin), min(size[axis], math.ceil(high) + margin)))
        return edges[0][0], edges[1][0], edges[0][1], edges[1][1]


def square(
    image: Image.Image, orientation: int, rules: ImageRules, opaque: bool = False
) -> tuple[Image.Image, bool]:
    """The square of `rules.size` pixels, RGB, and whether transparency was composited on white.

    `orientation` is EXIF's number for what turns the image upright; `opaque` = its alpha means nothing.
    Raises InputError IMAGE_UNSUPPORTED_FORMAT for pixels that cannot become RGB.
    """
    size = upright_size(image.size, orientation)
    target = _target(size, rules)
    if orientation == 1 and is_rgb(image):
        return _finish(_resized(image, target, rules), target, rules), False
    if size[0] * size[1] <= _BAND:
        rgb, composited = _band(image, (0, 0, *size), orientation, opaque)
        return _finish(_resized(rgb, target, rules), target, rules), composited
    left, top, right, bottom = target.reach(rules, size)
    rows = max(1, _BAND // (right - left))
    columns = (target.box[0] - left, target.box[2] - left)
    filter = _FILTERS[rules.interpolation]
    narrow = Image.new("RGB", (target.size[0], bottom - top))
    composited = False
    for start in range(top, bottom, rows):
        end = min(start + rows, bottom)
        band, over_white = _band(image, (left, start, right, end), orientation, opaque)
        composited |= over_white
        part = (columns[0], 0.0, columns[1], float(end - start))
        band = band.resize((target.size[0], end - start), filter, part)
        narrow.paste(band, (0, start - top))
    box = (0, target.box[1] - top, target.size[0], target.box[3] - top)
    return _finish(narrow.resize(target.size, filter, box), target, rules), composited


def square_bytes(image: Image.Image, orientation: int, rules: ImageRules) -> int:
    """What `square` takes beside the image, bytes."""
    size = upright_size(image.size, orientation)
    target = _target(size, rules)
    left, top, right, bottom = target.reach(rules, size)
    narrow = 4 * target.size[0] * (bottom - top) + 4 * target.size[0] * target.size[1]
    if _by_simd(target):  # the order of the passes is another's choice
        narrow = max(narrow, 4 * (right - left + target.size[0]) * target.size[1])
    if orientation == 1 and is_rgb(image):
        return narrow
    return narrow + _BAND_BYTES * min(size[0] * size[1], max(_BAND, right - left))


def fit(image: Image.Image, rules: ImageRules) -> Image.Image:
    """An upright RGB image as a square of `rules.size` pixels."""
    return square(image, 1, rules)[0]


def upright_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Width and height once turned."""
    return (size[1], size[0]) if orientation in _SWAPS_SIDES else size


def is_rgb(image: Image.Image) -> bool:
    """Whether the image needs no conversion."""
    return image.mode == "RGB" and "transparency" not in image.info


def to_rgb(image: Image.Image, opaque: bool = False) -> tuple[Image.Image, bool]:
    """The image as RGB, and whether transparency was composited on white.

    16-bit grey keeps its high byte, as Pillow itself does for 16-bit RGB (65535 is 255, 256 is 1);
    Pillow's own conversion would clip at 255 and leave a white image.
    """
    if is_rgb(image):
        return image, False
    if image.mode.startswith("I;16"):
        return _deep_to_rgb(image)
    if image.mode in ("I", "F"):
        raise _unsupported(image.mode, "32-bit pixels do not say what is white")
    if image.mode == "La":  # grey that is multiplied by its alpha
        image = image.convert("LA")
    if not opaque and image.has_transparency_data:
        layered = image if image.mode == "RGBA" else image.convert("RGBA")
        alpha = layered.getchannel("A")
        if alpha.getextrema() != (255, 255):
            flat = Image.new("RGB", image.size, WHITE)
            flat.paste(layered, mask=alpha)
            return flat, True
        image = layered
    try:
        return image.convert("RGB"), False
    except ValueError:
        raise _unsupported(image.mode, "cannot be converted to RGB") from None


def _deep_to_rgb(image: Image.Image) -> tuple[Image.Image, bool]:
    deep = np.asarray(image).astype(np.uint16)
    high = (deep >> (image.info.get(GREY_BITS, 16) - 8)).astype(np.uint8)
    if image.info.get(GREY_INVERTED):
        high = ~high
    rgb = Image.fromarray(high).convert("RGB")
    transparent = deep == image.info.get("transparency", -1)
    if not transparent.any():
        return rgb, False
    rgb.paste(WHITE, mask=Image.fromarray(transparent))
    return rgb, True


def _unsupported(mode: str, why: str) -> InputError:
    return InputError("IMAGE_UNSUPPORTED_FORMAT", f"mode {mode}: {why}", {"value": mode})


def _band(image: Image.Image, box: Pixels, orientation: int, opaque: bool) -> tuple[Image.Image, bool]:
    """A part of the upright image, as RGB."""
    stored = _stored(box, image.size, orientation)
    part = image if stored == (0, 0, *image.size) else image.crop(stored)
    with faults_of_the_file():  # a palette that is missing shows here
        rgb, composited = to_rgb(part, opaque)
    return (rgb if orientation == 1 else rgb.transpose(_UPRIGHT[orientation])), composited


def _stored(box: Pixels, size: tuple[int, int], orientation: int) -> Pixels:
    """Where a box of the upright image lies in the image as it is stored, of `size`."""
    left, top, right, bottom = box
    if orientation in _SWAPS_SIDES:
        left, top, right, bottom = top, left, bottom, right
    width, height = size
    if orientation in (2, 3, 7, 8):
        left, right = width - right, width - left
    if orientation in (3, 4, 6, 7):
        top, bottom = height - bottom, height - top
    return left, top, right, bottom


def _target(size: tuple[int, int], rules: ImageRules) -> _Target:
    width, height = size
    whole = (0.0, 0.0, float(width), float(height))
    if rules.resize == "pad":
        # Edges rounded to pixels.
        scale = rules.size / (rules.pad_factor * max(size))
        return _Target((max(1, round(width * scale)), max(1, round(height * scale))), whole)
    short, kept = min(size), rules.size
    squash = rules.resize == "squash"
    # Rounded as transformers does.
    across, down = (
        rules.edge if squash or side == short else int(rules.edge * side / short) for side in size
    )
    left, top = _half(across - kept, rules), _half(down - kept, rules)
    # Only the columns that stay are resized: the same numbers at three quarters of the time. Cutting the
    # rows first changes the order of Pillow's two passes (mean difference up to 0.2 of 255), so that is
    # done for strips only: 100,000 x 1 pixels would become 22,400,000 x 224.
    columns = (left * width / across, (left + kept) * width / across)
    rows = (0.0, float(height))
    if down > _STRIP * kept:
        rows = (top * height / down, (top + kept) * height / down)
        top, down = 0, kept
    return _Target((kept, down), (columns[0], rows[0], columns[1], rows[1]), top)


def _resized(image: Image.Image, target: _Target, rules: ImageRules) -> Image.Image:
    """An RGB image's part resized; what shrinks is a sixth of the work with SIMD.

    Both round between their two passes, but take the passes in another order: 0.2 of 255 on average.
    """
    if not _by_simd(target):
        return image.resize(target.size, _FILTERS[rules.interpolation], target.box)
    left, top, right, bottom = target.box
    filter = simd.FilterType[_SIMD_FILTERS[rules.interpolation]]
    resized = Image.new("RGB", target.size)
    simd.Resizer().resize_pil(
        image,
        resized,
        simd.ResizeOptions(
            simd.ResizeAlg.convolution(filter), crop_box=simd.CropBox(left, top, right - left, bottom - top)
        ),
    )
    return resized


def _by_simd(target: _Target) -> bool:
    left, top, right, bottom = target.box
    return simd is not None and right - left >= target.size[0] and bottom - top >= target.size[1]


def _half(rest: int, rules: ImageRules) -> int:
    return round(rest / 2) if rules.half_pixel == "even" else rest // 2


def _finish(resized: Image.Image, target: _Target, rules: ImageRules) -> Image.Image:
    size = rules.size
    if rules.resize == "pad":
        background = Image.new("RGB", (size, size), rules.background)
        background.paste(resized, ((size - target.size[0]) // 2, (size - target.size[1]) // 2))
        return background
    return resized.crop((0, target.top, size, target.top + size))
