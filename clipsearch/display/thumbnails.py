"""Makes small images. The files are not trusted: what they may cost is bounded before they are decoded."""

from __future__ import annotations

import base64
import io
import os
import threading
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from clipsearch.files import open_regular

EDGE = 128
"""Pixels of the longer side, where a page carries the image in itself."""
MAX_BYTES = 64 * 1024 * 1024
MAX_PIXELS = 100_000_000  # as the encoder's default: what it takes can be shown
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
_QUALITY = 80
# A progressive JPEG is decoded once a scan over all its pixels.
_MAX_SCANS = 64
# Images of more pixels (80 MB as RGBA) are decoded one at a time.
_LARGE = 20_000_000

_one_large = threading.Lock()


class NoImage(Exception):
    """The data is no image that can be shown; the message says why."""


def thumbnail(path: Path) -> str | None:
    """A local file's image as a data URI; None if the file is not there, too large, or no image."""
    try:
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_size > MAX_BYTES:
                return None
            small = shrink(file.read(), EDGE)
    except (OSError, ValueError, NoImage):  # ValueError: the text cannot be a path
        return None
    return f"data:image/webp;base64,{base64.b64encode(small).decode('ascii')}"


def shrink(data: bytes, edge: int) -> bytes:
    """The image as WebP, upright, its longer side at most `edge` pixels. Raises NoImage.

    The first frame of an animation; transparency stays.
    """
    # Pillow raises whatever its format plugins stumble over.
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise NoImage(f"{width} x {height} pixels")
            if image.format == "JPEG" and data.count(b"\xff\xda") > _MAX_SCANS:
                raise NoImage("too many scans")
            image.draft(None, (2 * edge, 2 * edge))
            if image.size[0] * image.size[1] > _LARGE:
                with _one_large:
                    return _small(image, edge)
            return _small(image, edge)
    except NoImage:
        raise
    except MemoryError:
        raise NoImage("not enough memory") from None
    except Exception as error:
        raise NoImage(type(error).__name__) from None


def _small(image: Image.Image, edge: int) -> bytes:
    image.load()
    small = _plain(image)
    small.thumbnail((edge, edge), reducing_gap=2.0)
    upright = ImageOps.exif_transpose(small)
    webp = io.BytesIO()
    upright.save(webp, "WEBP", quality=_QUALITY, exif=b"")  # no place, no camera
    return webp.getvalue()


def _plain(image: Image.Image) -> Image.Image:
    """In a mode that can be resized and saved: RGB, or RGBA where something is transparent."""
    if image.mode.startswith("I;16"):  # Pillow's own conversion clips at 255
        return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)).convert("RGB")
    wanted = "RGBA" if image.has_transparency_data else "RGB"
    return image if image.mode == wanted else image.convert(wanted)
