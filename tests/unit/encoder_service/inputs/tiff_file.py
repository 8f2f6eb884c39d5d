"""TIFF files as other programs write them: byte orders, tiles, planes and BigTIFF."""

from __future__ import annotations

import struct

import numpy as np
from PIL import Image


def tiff(
    image: Image.Image,
    order: str = "<",
    tile: int = 0,
    planar: bool = False,
    big: bool = False,
    extra: list[tuple[int, int, bytes]] | None = None,
) -> bytes:
    """An uncompressed TIFF of an RGB image: in strips or tiles, by pixels or planes, of 32 or 64 bits."""
    pixels = np.asarray(image.convert("RGB"))
    height, width = pixels.shape[:2]
    layers = [pixels[..., c] for c in range(3)] if planar else [pixels]
    parts = []
    for layer in layers:
        if tile:
            padded = np.pad(layer, [(0, -height % tile), (0, -width % tile)] + [(0, 0)] * (layer.ndim - 2))
            parts += [
                padded[y : y + tile, x : x + tile].tobytes()
                for y in range(0, height, tile)
                for x in range(0, width, tile)
            ]
        else:
            parts += [layer[y : y + 16].tobytes() for y in range(0, height, 16)]
    word = "Q" if big else "I"
    body = bytearray((b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if big else 42))
    body += struct.pack(order + "HHQ", 8, 0, 0) if big else struct.pack(order + "I", 0)
    offsets = []
    for part in parts:
        offsets.append(len(body))
        body += part
    tags: list[tuple[int, int, bytes]] = list(extra or [])

    def numbers(tag: int, code: str, *values: int) -> None:
        tags.append(
            (tag, {"H": 3, "I": 4, "Q": 16}[code], struct.pack(f"{order}{len(values)}{code}", *values))
        )

    numbers(256, "I", width)
    numbers(257, "I", height)
    numbers(258, "H", 8, 8, 8)
    numbers(259, "H", 1)
    numbers(262, "H", 2)
    numbers(277, "H", 3)
    numbers(284, "H", 2 if planar else 1)
    if tile:
        numbers(322, "H", tile)
        numbers(323, "H", tile)
    else:
        numbers(278, "H", 16)
    numbers(324 if tile else 273, word, *offsets)
    numbers(325 if tile else 279, "I", *map(len, parts))
    entries = b""
    sizes = {1: 1, 2: 1, 3: 2, 4: 4, 7: 1, 16: 8}
    for tag, kind, value in sorted(tags):
        if len(value) <= (8 if big else 4):
            place = value.ljust(8 if big else 4, b"\0")
        else:
            place = struct.pack(order + word, len(body))
            body += value
        entries += struct.pack(f"{order}HH{word}", tag, kind, len(value) // sizes[kind]) + place
    at = len(body)
    body += struct.pack(order + ("Q" if big else "H"), len(tags)) + entries + struct.pack(order + word, 0)
    struct.pack_into(order + word, body, 8 if big else 4, at)
    return bytes(body)
