"""What decoding each kind of image really takes, beside what is said before: JSON, bytes by kind.

Run as a program of its own, so that the peak is that of decoding alone.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pillow_heif
from PIL import Image

from encoder_service.bundle import ImageRules
from encoder_service.inputs.images import decode, open_image
from tests.unit.encoder_service.inputs.corpus import bmp, bmp_rle, oriented, png_16, saved
from tests.unit.encoder_service.inputs.tiff_file import tiff

RULES = ImageRules(size=224, resize="crop")
LIMITS = {"max_bytes": 10**9, "max_memory": 10**11}


def kinds(width: int, height: int) -> Iterator[tuple[str, bytes]]:
    """One file of each kind that differs in what it takes."""
    noise = np.random.default_rng(1).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    photo = Image.fromarray(noise).resize((width, height))
    grey = photo.convert("L")
    faded = photo.copy()
    faded.putalpha(grey)
    palette = photo.quantize(64, Image.Quantize.FASTOCTREE)
    cmyk = photo.convert("CMYK")
    for progressive in (False, True):
        for name, image in (("RGB", photo), ("grey", grey), ("CMYK", cmyk)):
            yield f"JPEG {name}, progressive {progressive}", saved(image, "JPEG", progressive=progressive)
    yield "JPEG progressive, 4:4:4", saved(photo, "JPEG", progressive=True, subsampling=0)
    yield "JPEG turned", saved(photo, "JPEG", exif=oriented(6))
    yield "JPEG without end marker", saved(photo, "JPEG")[:-2]
    modes = {
        "RGB": photo,
        "L": grey,
        "RGBA": faded,
        "LA": faded.convert("LA"),
        "1": grey.convert("1"),
        "P": palette,
    }
    for name, image in modes.items():
        yield f"PNG {name}", saved(image, "PNG", compress_level=1)
    yield "PNG RGBA turned", saved(faded, "PNG", compress_level=1, exif=oriented(6))
    yield "PNG P with tRNS", saved(palette, "PNG", compress_level=1, transparency=3)
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    yield "PNG 16 bits", saved(deep, "PNG", compress_level=1)
    yield "PNG 16 bits RGB, interlaced", png_16(photo, interlaced=True)
    yield "GIF", saved(palette, "GIF")
    for lossless in (False, True):
        for name, image in (("RGB", photo), ("RGBA", faded)):
            data = saved(image, "WEBP", lossless=lossless, method=0, quality=20)
            yield f"WebP {name}, lossless {lossless}", data
    yield "WebP animated", saved(photo, "WEBP", method=0, save_all=True, append_images=[grey.convert("RGB")])
    for name, image in (("RGB", photo), ("RGBA", faded)):
        yield f"AVIF {name}", saved(image, "AVIF", speed=10, quality=50)
    yield "AVIF 4:4:4", saved(photo, "AVIF", speed=10, quality=50, subsampling="4:4:4")
    sixteen = np.asarray(photo).astype("<u2") * 257
    for name, heif in (
        ("RGB", pillow_heif.from_pillow(photo)),
        ("RGB, 10 bits", pillow_heif.from_bytes("RGB;16", photo.size, sixteen.tobytes())),
    ):
        buffer = io.BytesIO()
        heif.save(buffer, quality=10, enc_params={"preset": "ultrafast"})
        yield f"HEIC {name}", buffer.getvalue()
    yield "BMP", saved(photo, "BMP")
    yield "BMP 16 bits", bmp(photo, 16)
    yield "BMP 32 bits", bmp(photo, 32, alpha=0)
    yield "BMP RLE", bmp_rle(palette)
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd", "lzma"):
        yield f"TIFF {compression}", saved(photo, "TIFF", compression=compression)
        yield (
            f"TIFF {compression} in one strip",
            saved(photo, "TIFF", compression=compression, strip_size=10**9),
        )
    for name, image in (("16 bits", deep), ("CMYK", cmyk), ("RGBA", faded), ("P", palette)):
        yield f"TIFF {name}", saved(image, "TIFF", compression="tiff_lzw")
    yield "TIFF group 4", saved(grey.convert("1"), "TIFF", compression="group4")
    yield "TIFF in tiles", tiff(photo, tile=256)
    yield "TIFF in planes", tiff(photo, planar=True)


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def _measured(data: bytes) -> tuple[int, int]:
    """Bytes said and bytes taken."""
    before = _status("VmRSS:")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak is counted from here
    opened = open_image(data, RULES, **LIMITS)
    said = opened.memory
    decode(opened, RULES)
    return said, _status("VmHWM:") - before


if __name__ == "__main__":
    small = dict(kinds(160, 120))
    for data in small.values():  # what libraries take once is not the image's
        decode(open_image(data, RULES, **LIMITS), RULES)
    print(json.dumps({name: _measured(data) for name, data in kinds(1280, 960)}))
