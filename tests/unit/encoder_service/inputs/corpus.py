"""Intact images of odd kinds, each made from one photograph, and the parts to make more."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pillow_heif
from PIL import Image, ImageCms, ImageOps

from tests.unit.encoder_service.inputs.tiff_file import tiff

WHITE = (255, 255, 255)
VIDEO = b"\0\0\0\x18ftypmp42" + b"\xff\xda\0\x0c\x01\xff\xd9\xff\xd8" * 5000
EXIF = 0x0112


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    if format in ("JPEG", "MPO", "WEBP", "AVIF") and not options.get("lossless"):
        options.setdefault("quality", 97)
    buffer = io.BytesIO()
    image.copy().save(buffer, format, **options)  # some plugins keep their options in the image
    return buffer.getvalue()


def chunk(name: bytes, body: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def with_chunks(png: bytes, *chunks: bytes) -> bytes:
    """A PNG with further chunks behind its header."""
    return png[:33] + b"".join(chunks) + png[33:]


def segment(marker: int, body: bytes) -> bytes:
    """A segment of a JPEG."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def with_segments(jpeg: bytes, *segments: bytes) -> bytes:
    """A JPEG with further segments behind its first marker."""
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def oriented(orientation: Any) -> Image.Exif:
    exif = Image.Exif()
    exif[EXIF] = orientation
    return exif


def bmp(image: Image.Image, bits: int, alpha: int | None = None, top_down: bool = False) -> bytes:
    """A BMP of 16 bits (5-6-5), or of 32 with a mask for the alpha that is the same everywhere."""
    pixels = np.asarray(image.convert("RGB"))
    rows = pixels if top_down else pixels[::-1]
    height, width = rows.shape[:2]
    if bits == 16:
        r, g, b = (rows[..., channel].astype(np.uint16) for channel in range(3))
        body = ((r >> 3) << 11 | (g >> 2) << 5 | b >> 3).astype("<u2")
        body = np.pad(body, ((0, 0), (0, width % 2)))
        masks = (0xF800, 0x7E0, 0x1F, 0)
    else:
        filled = np.full((height, width, 1), alpha, np.uint8)
        body = np.concatenate([rows[..., ::-1], filled], axis=-1)
        masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    data = body.tobytes()
    header = struct.pack(
        "<IiiHHIIiiII", 108, width, -height if top_down else height, 1, bits, 3, len(data), 0, 0, 0, 0
    )
    header += struct.pack("<IIII", *masks) + bytes(52)
    return b"BM" + struct.pack("<IHHI", 14 + len(header) + len(data), 0, 0, 14 + len(header)) + header + data


def odd_images(photo: Image.Image) -> Iterator[tuple[str, bytes, Image.Image]]:
    """Name, file, and what is to be seen: of every kind one. `photo` is RGB."""
    photo = photo.resize((320, 240))
    grey = photo.convert("L")
    small = photo.resize((160, 120))
    yield from _jpegs(photo, grey)
    yield from _pngs(photo, grey)
    yield from _others(photo, grey, small)
    yield from _tiffs(photo, grey)
    for name, exif in (
        ("text", b"Exif\0\0nonsense"),
        ("cut", b"Exif\0\0II*\0\x08\0\0\0\x09"),
        ("zero", b"\0"),
    ):
        if exif.startswith(b"Exif"):  # without that it is none
            yield f"JPEG EXIF {name}", with_segments(saved(photo, "JPEG"), segment(0xE1, exif)), photo
        yield f"PNG EXIF {name}", with_chunks(saved(photo, "PNG"), chunk(b"eXIf", exif)), photo
        yield f"WebP EXIF {name}", saved(photo, "WEBP", exif=exif), photo
    yield "JPEG EXIF wrong type", saved(photo, "JPEG", exif=_text_orientation()), photo
    yield "PNG EXIF wrong type", saved(photo, "PNG", exif=_text_orientation()), photo


def _stored(photo: Image.Image, orientation: int) -> Image.Image:
    """The image as a camera stores it that was held in this way."""
    back = {2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}.get(orientation, 1)
    turned = photo.copy()
    turned.getexif()[EXIF] = back
    return ImageOps.exif_transpose(turned)


def _text_orientation() -> bytes:
    return b"Exif\0\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHI4s", EXIF, 2, 2, b"6\0\0\0") + bytes(4)


def _jpegs(photo: Image.Image, grey: Image.Image) -> Iterator[tuple[str, bytes, Image.Image]]:
    plain = saved(photo, "JPEG")
    yield "JPEG", plain, photo
    large = photo.resize((12000, 9000), Image.Resampling.NEAREST)
    yield "JPEG of a phone, 108 megapixels", saved(large, "JPEG", quality=60), photo.resize((1200, 900))
    yield "JPEG grey", saved(grey, "JPEG"), grey
    yield "JPEG CMYK (Adobe's, inverted)", saved(photo.convert("CMYK"), "JPEG"), photo
    yield "JPEG progressive", saved(photo, "JPEG", progressive=True), photo
    yield "JPEG 4:4:4", saved(photo, "JPEG", subsampling=0), photo
    yield "JPEG 4:2:0, odd size", saved(photo.resize((321, 241)), "JPEG", subsampling=2), photo
    yield "JPEG restart markers", saved(photo, "JPEG", restart_marker_blocks=1), photo
    yield (
        "JPEG progressive, restart markers",
        saved(photo, "JPEG", progressive=True, restart_marker_rows=1),
        photo,
    )
    yield "JPEG with RGB components", saved(photo, "JPEG", keep_rgb=True), photo
    yield "JPEG without end marker", plain[:-2], photo
    yield "JPEG with half an end marker", plain[:-1], photo
    yield "JPEG progressive without end marker", saved(photo, "JPEG", progressive=True)[:-2], photo
    yield "JPEG grey without end marker", saved(grey, "JPEG")[:-2], grey
    yield "JPEG with garbage behind", plain + bytes(range(256)) * 50, photo
    yield "JPEG motion photo", plain + VIDEO, photo
    yield "JPEG progressive motion photo", saved(photo, "JPEG", progressive=True) + VIDEO, photo
    yield "JPEG without JFIF header", plain[:2] + plain[20:], photo
    yield "JPEG with junk between segments", plain[:20] + b"\0\0\xff\xff\xff" + plain[20:], photo
    yield "MPO", saved(photo, "MPO", save_all=True, append_images=[grey.convert("RGB")]), photo
    scans = (
        b"\xff\xda\0\x08\x01\x01\0\0\x3f\0" * 100
    )  # as many as a thumbnail and a profile can hold by chance
    yield (
        "JPEG with scans in its metadata",
        with_segments(plain, segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\0\0" + scans)),
        photo,
    )
    yield (
        "JPEG progressive, scans in its metadata",
        with_segments(saved(photo, "JPEG", progressive=True), *[segment(0xE5, scans)] * 60),
        photo,
    )
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    yield "JPEG ICC", saved(photo, "JPEG", icc_profile=profile), photo
    yield (
        "JPEG broken ICC, Photoshop, FlashPix, MPF, JFXX",
        with_segments(
            plain,
            *(
                segment(marker, body)
                for marker, body in (
                    (0xE2, b"ICC_PROFILE\0\x05\x09x"),
                    (0xE2, b"ICC_PROFILE\0"),
                    (0xED, b"Photoshop 3.0\x008BIM\x03\xed\xff"),
                    (0xE2, b"FPXR\0"),
                    (0xE2, b"MPF\0II*\0\xff\xff\xff\xff"),
                    (0xE0, b"JFXX\0\x10"),
                    (0xE1, b"http://ns.adobe.com/xap/1.0/\0<x"),
                    (0xFE, b""),
                    (0xFE, b"x" * 65000),
                    (0xEE, b"Adobe"),
                )
            ),
        ),
        photo,
    )
    yield (
        "JPEG orientation in XMP",
        with_segments(
            saved(_stored(photo, 6), "JPEG"),
            segment(0xE1, b'http://ns.adobe.com/xap/1.0/\0<rdf:Description tiff:Orientation="6"/>'),
        ),
        photo,
    )
    # The entries of this EXIF ask for 300 MB.
    entries = b"".join(struct.pack("<HHII", 0x9000 + n, 7, 60_000, 8) for n in range(5000))
    yield (
        "JPEG EXIF that asks for much",
        with_segments(plain, segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 5000) + entries)),
        photo,
    )


def _pngs(photo: Image.Image, grey: Image.Image) -> Iterator[tuple[str, bytes, Image.Image]]:
    plain = saved(photo, "PNG")
    yield "PNG", plain, photo
    deep = np.asarray(grey).astype(np.uint16) * 257
    yield "PNG 16 bits grey", saved(Image.fromarray(deep), "PNG"), grey
    yield "PNG 16 bits RGB", png_16(photo), photo
    yield "PNG interlaced", png_16(photo, interlaced=True), photo
    yield "PNG LA", saved(_faded(grey, "LA"), "PNG"), _on_white(_faded(grey, "LA"))
    yield "PNG RGBA", saved(_faded(photo, "RGBA"), "PNG"), _on_white(_faded(photo, "RGBA"))
    bits = grey.convert("1")
    yield "PNG 1 bit", saved(bits, "PNG"), bits
    palette = photo.quantize(64)
    yield "PNG P", saved(palette, "PNG"), palette
    yield "PNG P, 4 bits", saved(photo.quantize(16), "PNG"), photo.quantize(16)
    seen = palette.convert("RGBA")
    seen.putalpha(palette.point([0 if index == 3 else 255 for index in range(256)], "L"))
    yield "PNG P with tRNS", saved(palette, "PNG", transparency=3), _on_white(seen)
    yield "PNG RGB with tRNS", saved(photo, "PNG", transparency=(1, 2, 3)), photo
    yield "PNG grey with tRNS", saved(grey, "PNG", transparency=300 % 256), grey
    yield "APNG", saved(photo, "PNG", save_all=True, append_images=[grey.convert("RGB")]), photo
    yield "PNG cut behind its pixels", plain[:-12], photo
    yield "PNG with garbage behind", plain + b"\0" * 1000, photo
    zeros = zlib.compress(bytes(100_000_000))
    yield "PNG zTXt of 100 MB", with_chunks(plain, chunk(b"zTXt", b"Comment\0\0" + zeros)), photo
    yield "PNG iCCP of 100 MB", with_chunks(plain, chunk(b"iCCP", b"profile\0\0" + zeros)), photo
    yield "PNG iTXt of 100 MB", with_chunks(plain, chunk(b"iTXt", b"Comment\0\x01\0\0\0" + zeros)), photo
    yield "PNG tEXt of 5 MB", with_chunks(plain, chunk(b"tEXt", b"Comment\0" + b"x" * 5_000_000)), photo
    many = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(900_000)))
    yield "PNG 100 zTXt of 1 MB", with_chunks(plain, *[many] * 100), photo
    broken = b"\0\0\0\x04gAMA\0\0\0\0nope"
    odd = (chunk(b"iCCP", b"x"), chunk(b"pHYs", b"x"), chunk(b"iTXt", b"x"), chunk(b"sRGB", b""), broken)
    yield "PNG damaged metadata", with_chunks(plain, *odd), photo
    yield "PNG damaged metadata behind its pixels", plain[:-12] + b"".join(odd) + plain[-12:], photo
    raw = f"\nexif\n{len(_text_orientation()):8}\n".encode() + oriented(6).tobytes().hex().encode()
    turned = saved(_stored(photo, 6), "PNG")
    yield (
        "PNG orientation in a text chunk",
        with_chunks(turned, chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(raw))),
        photo,
    )
    xmp = b'XML:com.adobe.xmp\0\0\0\0\0<rdf:Description tiff:Orientation="6"/>'
    yield "PNG orientation in XMP", with_chunks(turned, chunk(b"iTXt", xmp)), photo


def png_16(photo: Image.Image, interlaced: bool = False) -> bytes:
    """A PNG of 16 bits a channel, Adam7 on demand: neither is what Pillow writes."""
    pixels = np.asarray(photo)
    height, width = pixels.shape[:2]
    deep = (pixels.astype(">u2") * 257).astype(">u2")
    passes = [(0, 0, 1, 1)]
    if interlaced:
        passes = [
            (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2),
        ]  # fmt: skip
    rows = b"".join(
        b"\0" + row.tobytes() for x, y, dx, dy in passes for row in deep[y::dy, x::dx] if row.size
    )
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, int(interlaced))
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _faded(image: Image.Image, mode: str) -> Image.Image:
    made = image.convert(mode)
    made.putalpha(Image.linear_gradient("L").resize(image.size))
    return made


def _on_white(image: Image.Image) -> Image.Image:
    layered = image.convert("RGBA")
    flat = Image.new("RGB", image.size, WHITE)
    flat.paste(layered, mask=layered.getchannel("A"))
    return flat


def _others(
    photo: Image.Image, grey: Image.Image, small: Image.Image
) -> Iterator[tuple[str, bytes, Image.Image]]:
    palette = photo.quantize(256)
    yield "GIF", saved(palette, "GIF"), palette
    yield "GIF interlaced", saved(palette, "GIF", interlace=1), palette
    for disposal in (0, 1, 2, 3):
        frames = [photo.quantize(64), grey.quantize(64)]
        data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:], disposal=disposal)
        yield f"GIF animated, disposal {disposal}", data, frames[0]
    gif = saved(palette, "GIF")
    comments = b"!\xfe" + b"\xffx" * 1 + b"y" * 254 + b"\xff" + b"z" * 255 + b"\0"
    at = 13 + 768
    yield "GIF with comments", gif[:at] + comments * 100 + gif[at:], palette
    yield "GIF without trailer", gif[:-1], palette
    yield "GIF with garbage behind", gif + b"\xff" * 100, palette
    yield "WebP", saved(photo, "WEBP"), photo
    yield "WebP lossless", saved(photo, "WEBP", lossless=True), photo
    yield "WebP RGBA", saved(_faded(photo, "RGBA"), "WEBP"), _on_white(_faded(photo, "RGBA"))
    animated = saved(photo, "WEBP", save_all=True, append_images=[grey.convert("RGB")])
    yield "WebP animated", animated, photo
    yield "WebP with garbage behind", saved(photo, "WEBP") + b"\0" * 99, photo
    for quality in (97, -1):
        heic = io.BytesIO()
        pillow_heif.from_pillow(photo).save(heic, quality=quality)
        yield f"HEIC quality {quality}", heic.getvalue(), photo
    heic = io.BytesIO()
    pillow_heif.from_pillow(_faded(small, "RGBA")).save(heic, quality=97)
    yield "HEIC RGBA", heic.getvalue(), _on_white(_faded(small, "RGBA"))
    heic = io.BytesIO()
    turned = pillow_heif.from_pillow(Image.fromarray(np.asarray(_stored(photo, 6))))
    turned[0].info["exif"] = oriented(6).tobytes()  # becomes the file's own rotation
    turned.save(heic, quality=97)
    yield "HEIC turned", heic.getvalue(), photo
    yield "AVIF", saved(photo, "AVIF"), photo
    yield "AVIF RGBA", saved(_faded(photo, "RGBA"), "AVIF"), _on_white(_faded(photo, "RGBA"))
    yield "AVIF turned", saved(_stored(photo, 6), "AVIF", exif=oriented(6)), photo
    yield "AVIF animated", saved(small, "AVIF", save_all=True, append_images=[small]), small
    yield "BMP 24 bits", saved(photo, "BMP"), photo
    yield "BMP P", saved(palette, "BMP"), palette
    yield "BMP 1 bit", saved(grey.convert("1"), "BMP"), grey.convert("1")
    yield "BMP 16 bits", bmp(photo, 16), photo
    yield "BMP 16 bits, top down", bmp(photo, 16, top_down=True), photo
    yield "BMP 32 bits, alpha 255", bmp(photo, 32, alpha=255), photo
    yield "BMP 32 bits, alpha 0 everywhere", bmp(photo, 32, alpha=0), photo
    yield "BMP 32 bits, alpha 0 everywhere, top down", bmp(photo, 32, alpha=0, top_down=True), photo
    yield "BMP RLE", bmp_rle(palette), palette


def bmp_rle(palette: Image.Image) -> bytes:
    """A BMP of 8 bits, run-length coded."""
    pixels = np.asarray(palette)[::-1]
    body = bytearray()
    for row in pixels:
        for start in range(0, len(row), 254):
            part = row[start : start + 254].tobytes()
            body += bytes([0, len(part)]) + part + b"\0" * (len(part) % 2)
        body += b"\0\0"
    body += b"\0\1"
    colours = np.asarray(palette.getpalette("RGB")).reshape(-1, 3)[:, ::-1]
    table = np.zeros((256, 4), np.uint8)
    table[: len(colours), :3] = colours
    head = struct.pack("<IiiHHIIiiII", 40, palette.width, palette.height, 1, 8, 1, len(body), 0, 0, 256, 0)
    at = 14 + len(head) + 1024
    return b"BM" + struct.pack("<IHHI", at + len(body), 0, 0, at) + head + table.tobytes() + bytes(body)


def _tiffs(photo: Image.Image, grey: Image.Image) -> Iterator[tuple[str, bytes, Image.Image]]:
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd", "lzma"):
        yield f"TIFF {compression}", saved(photo, "TIFF", compression=compression), photo
    for order in "<>":
        for options in ({}, {"tile": 64}, {"planar": True}, {"tile": 64, "planar": True}, {"big": True}):
            if (order, options) != (">", {"big": True}):  # Pillow takes that for no TIFF
                yield f"TIFF {order} {options}", tiff(photo, order, **options), photo
    yield "TIFF 16 bits grey", saved(Image.fromarray(np.asarray(grey).astype(np.uint16) * 257), "TIFF"), grey
    yield (
        "TIFF 16 bits grey, LZW",
        saved(Image.fromarray(np.asarray(grey).astype(np.uint16) * 257), "TIFF", compression="tiff_lzw"),
        grey,
    )
    palette = photo.quantize(256)
    yield "TIFF P", saved(palette, "TIFF"), palette
    yield "TIFF P, LZW", saved(palette, "TIFF", compression="tiff_lzw"), palette
    yield "TIFF CMYK", saved(photo.convert("CMYK"), "TIFF"), photo
    yield "TIFF RGBA", saved(_faded(photo, "RGBA"), "TIFF"), _on_white(_faded(photo, "RGBA"))
    yield "TIFF 1 bit, group 4", saved(grey.convert("1"), "TIFF", compression="group4"), grey.convert("1")
    yield "TIFF with pages", saved(photo, "TIFF", save_all=True, append_images=[photo, grey]), photo
    odd = [(33432, 2, b"x" * 100_000), (34665, 4, struct.pack("<I", 2**31)), (34675, 7, b"no profile" * 9)]
    yield "TIFF with odd tags", tiff(photo, extra=odd), photo
    yield "TIFF with garbage behind", tiff(photo) + b"\xff" * 999, photo
