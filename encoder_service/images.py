"""Picture bytes to the square of pixels that the model sees, and what was done on the way.

The only preprocessing code of the project: the service, `verify` and calibration all call it. Bytes
are never trusted: format, size and number of scans are checked before a pixel is decoded.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from clipsearch.serving.errors import InvalidArgument
from encoder_service.bundle import ImageRules
from encoder_service.frames import count_frames

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
ORIENTATION_TAG = 0x0112

# A JPEG is decoded at least this much larger than its final size. libjpeg scales in the frequency
# domain, which is not bicubic: at 2.41 x the mean difference to a full decode was at most 0.43 of 255
# over 18 photos, at 2.14 x up to 0.57, and 0.5 is the bound.
DRAFT_FACTOR = 2.25

# A progressive JPEG is decoded in passes over the whole picture, and a pass of 100 bytes costs as much
# as a long one (64 megapixels: 22 ms). Cameras and editors write about 10.
MAX_SCANS = 64

# Height over width from which a picture is resized in part only.
_STRIP = 4

# Twice this is where Pillow itself refuses a picture.
_PILLOW_LIMIT = Image.MAX_IMAGE_PIXELS or 0

_WHITE = (255, 255, 255)
_FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
}
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


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What a picture may cost."""

    max_bytes: int = 20 * 1024 * 1024
    max_pixels: int = 100_000_000


@dataclass(frozen=True, slots=True)
class ImageInput:
    """What was done to a picture. Sizes are as stored, before orientation was applied."""

    width: int
    height: int
    format: str
    orientation: int = 1
    frames: int = 1
    mode: str = "RGB"
    alpha_composited: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """Pixels ready for the image graph: uint8 [size, size, 3], RGB."""

    pixels: NDArray[np.uint8]
    input: ImageInput


def prepare_image(data: bytes, rules: ImageRules, limits: ImageLimits | None = None) -> Picture:
    """Decodes, turns upright, converts to RGB and resizes one picture.

    Raises InvalidArgument on field `image` with the reason IMAGE_EMPTY, IMAGE_TOO_LARGE,
    IMAGE_UNSUPPORTED_FORMAT, IMAGE_TOO_MANY_PIXELS, IMAGE_TRUNCATED or IMAGE_INVALID.
    """
    limits = limits or ImageLimits()
    _check_size(data, limits)
    # Pillow raises whatever its format plugins stumble over; the caller's bytes are the cause each time.
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return _prepare(image, data, rules, limits)
    except InvalidArgument:
        raise
    except UnidentifiedImageError:
        raise _unidentified(data) from None
    except Image.DecompressionBombError:
        raise _too_many_pixels(f"over {2 * _PILLOW_LIMIT}", limits) from None
    except MemoryError:
        raise _refuse("IMAGE_INVALID", "decoding it needs more memory than there is") from None
    except Exception as error:
        raise _broken(error) from None


def _prepare(image: Image.Image, data: bytes, rules: ImageRules, limits: ImageLimits) -> Picture:
    width, height = image.size
    if width * height > limits.max_pixels:
        raise _too_many_pixels(f"{width} x {height}", limits)
    kind = _format(image)
    if kind == "JPEG":
        _check_scans(data)
        _draft(image, rules)
    mode = image.mode
    # Pillow turns a TIFF upright by itself when it loads it, and says its upright size before.
    turned = _orientation(image) if kind == "TIFF" else 1
    image.load()
    orientation = _orientation(image)
    rgb, composited = to_rgb(image)
    if orientation != 1:
        rgb = rgb.transpose(_UPRIGHT[orientation])
    if turned in _SWAPS_SIDES:
        width, height = height, width
    frames = count_frames(image, kind, data)
    done = ImageInput(width, height, kind, max(turned, orientation), frames, mode, composited)
    return Picture(np.asarray(fit(rgb, rules)), done)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 for values that mean nothing."""
    value = image.getexif().get(ORIENTATION_TAG, 1)
    return value if value in _UPRIGHT else 1


def _draft(image: Image.Image, rules: ImageRules) -> None:
    """Lets libjpeg decode at 1/2, 1/4 or 1/8 where DRAFT_FACTOR x the final size still remains."""
    width, height = image.size
    if rules.resize == "squash":
        final = (rules.size, rules.size)
    else:
        edge = min(width, height) if rules.resize == "crop" else max(width, height) * rules.pad_factor
        scale = rules.size / edge
        final = (max(1, round(width * scale)), max(1, round(height * scale)))
    image.draft(None, (math.ceil(DRAFT_FACTOR * final[0]), math.ceil(DRAFT_FACTOR * final[1])))


def to_rgb(image: Image.Image) -> tuple[Image.Image, bool]:
    """The picture as RGB, and whether transparency was composited on white.

    16-bit grey keeps its high byte, as Pillow itself does for 16-bit RGB (65535 is 255, 256 is 1);
    Pillow's own conversion would clip at 255 and leave a white picture.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image, False
    if image.mode.startswith("I;16"):
        high = np.asarray(image).astype(np.uint16) >> 8
        return Image.fromarray(high.astype(np.uint8)).convert("RGB"), False
    if image.mode in ("I", "F"):
        raise _refuse(
            "IMAGE_UNSUPPORTED_FORMAT",
            f"mode {image.mode}: 32-bit pixels do not say what is white",
            image.mode,
        )
    if image.has_transparency_data:
        layered = image.convert("RGBA")
        alpha = layered.getchannel("A")
        if alpha.getextrema() != (255, 255):
            flat = Image.new("RGB", image.size, _WHITE)
            flat.paste(layered, mask=alpha)
            return flat, True
        return layered.convert("RGB"), False
    try:
        return image.convert("RGB"), False
    except ValueError:
        raise _refuse(
            "IMAGE_UNSUPPORTED_FORMAT", f"mode {image.mode} cannot be converted to RGB", image.mode
        ) from None


def fit(image: Image.Image, rules: ImageRules) -> Image.Image:
    """An upright RGB picture as a square of `rules.size` pixels."""
    if rules.resize == "crop":
        return _crop(image, rules)
    if rules.resize == "pad":
        return _pad(image, rules)
    return image.resize((rules.size, rules.size), _FILTERS[rules.interpolation])


def _crop(image: Image.Image, rules: ImageRules) -> Image.Image:
    """Shortest edge to `size`, then the centre; rounded as transformers does.

    Only the columns that stay are resized: the same numbers at three quarters of the time. Cutting the
    rows first changes the order of Pillow's two passes (mean difference up to 0.2 of 255), so that is
    done for strips only: 100,000 x 1 pixels would become 22,400,000 x 224.
    """
    size, short = rules.size, min(image.size)
    width, height = (size if side == short else int(size * side / short) for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    columns = (left * image.width / width, (left + size) * image.width / width)
    rows = (0.0, float(image.height))
    if height > _STRIP * size:
        rows = (top * image.height / height, (top + size) * image.height / height)
        top, height = 0, size
    resized = image.resize(
        (size, height), _FILTERS[rules.interpolation], box=(columns[0], rows[0], columns[1], rows[1])
    )
    return resized.crop((0, top, size, top + size))


def _pad(image: Image.Image, rules: ImageRules) -> Image.Image:
    """In the middle of a square of `pad_factor` x the longer edge, resized; edges rounded to pixels."""
    scale = rules.size / (rules.pad_factor * max(image.size))
    width, height = (max(1, round(side * scale)) for side in image.size)
    square = Image.new("RGB", (rules.size, rules.size), rules.background)
    inner = image.resize((width, height), _FILTERS[rules.interpolation])
    square.paste(inner, ((rules.size - width) // 2, (rules.size - height) // 2))
    return square


def _check_size(data: bytes, limits: ImageLimits) -> None:
    if not data:
        raise _refuse("IMAGE_EMPTY", "the picture is empty (0 bytes)")
    if len(data) > limits.max_bytes:
        raise _refuse(
            "IMAGE_TOO_LARGE", f"{len(data)} bytes, the limit is {limits.max_bytes}", str(len(data))
        )


def _check_scans(data: bytes) -> None:
    # 0xFF is always stuffed inside entropy-coded data, so this finds markers, plus those of a thumbnail.
    scans = data.count(b"\xff\xda")
    if scans > MAX_SCANS:
        raise _refuse("IMAGE_INVALID", f"a JPEG of {scans} scans, the limit is {MAX_SCANS}", str(scans))


def _format(image: Image.Image) -> str:
    kind = image.format or ""
    return "JPEG" if kind == "MPO" else kind  # a JPEG with further pictures behind the first


def _unidentified(data: bytes) -> InvalidArgument:
    accepted = ", ".join(FORMATS)
    if _looks_like_ours(data):
        return _refuse("IMAGE_INVALID", "the header is damaged or cut off")
    return _refuse("IMAGE_UNSUPPORTED_FORMAT", f"not a picture in a format read here ({accepted})")


def _looks_like_ours(data: bytes) -> bool:
    return data.startswith(
        (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"BM")
    ) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")


def _too_many_pixels(value: str, limits: ImageLimits) -> InvalidArgument:
    return _refuse("IMAGE_TOO_MANY_PIXELS", f"{value} pixels, the limit is {limits.max_pixels}", value)


def _broken(error: Exception) -> InvalidArgument:
    if isinstance(error, EOFError) or "truncated" in str(error).lower():
        return _refuse("IMAGE_TRUNCATED", "the data ends before the picture does")
    return _refuse("IMAGE_INVALID", "the data is damaged and cannot be decoded")


def _refuse(reason: str, message: str, value: str = "") -> InvalidArgument:
    return InvalidArgument("image", message, reason, {"value": value} if value else None)
