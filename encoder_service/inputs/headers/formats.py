"""The formats that are read: how each is known, taken apart and opened."""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable
from dataclasses import replace

from PIL import ImagePalette
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from encoder_service.inputs.errors import InputError, faults_of_the_file, truncated
from encoder_service.inputs.headers import jpeg, png
from encoder_service.inputs.headers.container import Container
from encoder_service.inputs.headers.exif import orientation
from encoder_service.inputs.headers.gif import read_gif
from encoder_service.inputs.headers.isobmff import kind_of, read_isobmff
from encoder_service.inputs.headers.jpeg import read_jpeg
from encoder_service.inputs.headers.png import read_png
from encoder_service.inputs.headers.tiff import read_tiff
from encoder_service.inputs.pixels import GREY_BITS, GREY_INVERTED

# Nanoseconds a pixel, and a byte.
_WEBP_NS = 30.0, 20.0
_RLE_NS = 60.0, 300.0  # BMP's runs, which Pillow decodes in Python
_BMP_NS = 5.0  # without them
# Measured: two canvases of four bytes a pixel, the copy that is handed over, the rows or the packed
# pixels of the decoder.
_WEBP_BYTES_PIXEL = 15
_TIFF_BITS, _TIFF_PHOTOMETRIC, _TIFF_COLOURS = 258, 262, 320


def _heif(data: io.BytesIO) -> ImageFile:
    try:
        plugin = importlib.import_module("pillow_heif.as_plugin")
    except ImportError:
        raise InputError(
            "IMAGE_UNSUPPORTED_FORMAT",
            "HEIC is read where the extra `heif` is installed: pip install 'clipsearch[heif]'",
        ) from None
    opened: ImageFile = plugin.HeifImageFile(data)
    return opened


PLUGINS: dict[str, Callable[[io.BytesIO], ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "WEBP": WebPImageFile,
    "GIF": GifImageFile,
    "BMP": BmpImageFile,
    "TIFF": TiffImageFile,
    "AVIF": AvifImageFile,
    "HEIC": _heif,
}


def read_file(data: bytes) -> Container:
    """What opening the file needs, by the format that its first bytes name. Raises InputError."""
    if data.startswith(jpeg.SIGNATURE):
        return read_jpeg(data)
    if data.startswith(png.SIGNATURE):
        return read_png(data)
    if data.startswith((b"GIF87a", b"GIF89a")):
        return read_gif(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        if len(data) < 8 + int.from_bytes(data[4:8], "little"):
            raise truncated()
        return Container("WEBP", data)
    if data.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return read_tiff(data)
    if data.startswith(b"BM"):
        return Container("BMP", data)
    if kind_of(data):
        return read_isobmff(data)
    raise InputError("IMAGE_UNSUPPORTED_FORMAT", f"not an image in a format read here ({', '.join(PLUGINS)})")


def with_facts_of(image: ImageFile, container: Container) -> Container:
    """With what only the opened image tells; its pixels are not decoded."""
    pixels = image.size[0] * image.size[1]
    if container.format == "AVIF":
        # Pillow tells the file's rotation in EXIF of its own making and leaves the pixels as they are.
        return replace(container, orientation=orientation(image.info.get("exif"))[0])
    if container.format == "WEBP":
        turn, ignored = orientation(image.info.get("exif"), image.info.get("xmp"))
        buffers = _WEBP_BYTES_PIXEL * pixels + 2 * len(container.data)
        seconds = _seconds(_WEBP_NS, pixels, container.data)
        return replace(container, orientation=turn, ignored=ignored, buffers=buffers, seconds=seconds)
    if container.format == "BMP":
        if image.tile[0].codec_name == "bmp_rle":
            seconds = _seconds(_RLE_NS, pixels, container.data)
            return replace(container, buffers=int(2.2 * pixels), seconds=seconds)
        return replace(container, buffers=16 * image.size[0], seconds=1e-9 * _BMP_NS * pixels)
    if isinstance(image, PngImageFile):
        _scale_transparent_grey(image, container.data)
    if isinstance(image, TiffImageFile):
        _read_grey_and_palette(image)
    return container


def _scale_transparent_grey(image: PngImageFile, data: bytes) -> None:
    """Pillow makes 8 bits of 2 or 4 where it decodes them, but not in the grey that is to be transparent."""
    depth, grey = data[24], image.info.get("transparency")
    if image.mode == "L" and isinstance(grey, int):
        most = (1 << depth) - 1
        image.info["transparency"] = (grey & most) * 255 // most


def _read_grey_and_palette(image: TiffImageFile) -> None:
    """What Pillow passes over: what is white in 16 bits, and palettes of 8 bits as libtiff reads them."""
    tags = image.tag_v2
    with faults_of_the_file():
        bits, photometric = tags.get(_TIFF_BITS, (16,)), tags.get(_TIFF_PHOTOMETRIC)
        colours = tags.get(_TIFF_COLOURS, ())
    if image.mode == "I;16":
        image.info[GREY_BITS] = int(bits[0])
        image.info[GREY_INVERTED] = photometric == 0
    if image.mode in ("P", "PA") and all(isinstance(colour, int) and 0 <= colour < 256 for colour in colours):
        image.palette = ImagePalette.raw("RGB;L", bytes(colours))


def _seconds(nanoseconds: tuple[float, float], pixels: int, data: bytes) -> float:
    return 1e-9 * (nanoseconds[0] * pixels + nanoseconds[1] * len(data))
