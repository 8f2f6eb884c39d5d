"""TIFF files: the first directory with the tags that the pixels need, each no longer than they need it."""

from __future__ import annotations

import struct
from typing import NamedTuple

from encoder_service.inputs.errors import InputError, damaged, truncated
from encoder_service.inputs.headers.container import MAX_FRAMES, Container
from encoder_service.inputs.headers.exif import ORIENTATION

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_STRIP_OFFSETS, _SAMPLES, _ROWS, _STRIP_BYTES, _PLANES = 273, 277, 278, 279, 284
_T4_OPTIONS, _T6_OPTIONS, _PREDICTOR, _COLOURS = 292, 293, 317, 320
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES = 322, 323, 324, 325
_EXTRA, _SAMPLE_FORMAT, _JPEG_TABLES = 338, 339, 347
_YCBCR = range(529, 533)
_PIXELS = {
    *(_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, _STRIP_OFFSETS, _SAMPLES, _ROWS),
    *(_STRIP_BYTES, _PLANES, _T4_OPTIONS, _T6_OPTIONS, _PREDICTOR, _COLOURS, _TILE_WIDTH, _TILE_HEIGHT),
    *(_TILE_OFFSETS, _TILE_BYTES, _EXTRA, _SAMPLE_FORMAT, _JPEG_TABLES, *_YCBCR),
}
_TYPES = {1: "B", 2: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
_SIZES = {kind: struct.calcsize("<" + code) for kind, code in _TYPES.items()} | {5: 8, 10: 8, 11: 4, 12: 8}
_UNCOMPRESSED, _OLD_JPEG, _JPEG = 1, 6, 7
# Those whose decoder holds a segment (strip or tile) once.
_LEAN = {2, 3, 4, 5, 6, 7, 8, 32773, 32946, 34925, 50000}
_NS_BYTE, _NS_SEGMENT = 3.0, 4000.0
# Python objects for each strip or tile: its offset and its length, in three forms, and what Pillow makes.
_BYTES_SEGMENT = 1200
_YCBCR_PHOTOMETRIC = 6
_SIGNED = 2


class _Entry(NamedTuple):
    kind: int
    values: int
    raw: bytes
    at: int


class _Directory:
    """One directory (TIFF 6.0, section 2; BigTIFF's is the same with wider numbers)."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.order = "<" if data[:2] == b"II" else ">"
        self.big = struct.unpack_from(self.order + "H", data, 2)[0] == 43
        self.count, self.word, self.width = ("Q", "Q", 20) if self.big else ("H", "I", 12)
        self.first = struct.unpack_from(self.order + self.word, data, 8 if self.big else 4)[0]
        self.entries: dict[int, _Entry] = {}
        total = struct.unpack_from(self.order + self.count, data, self.first)[0]
        at = self.first + struct.calcsize(self.order + self.count)
        inline = 8 if self.big else 4
        for _ in range(min(total, 65_535)):
            tag, kind, count = struct.unpack_from(f"{self.order}HH{self.word}", data, at)
            raw = data[at : at + self.width]
            if len(raw) < self.width:
                raise truncated()
            value = at + self.width - inline
            if count * _SIZES.get(kind, 1) > inline:
                value = struct.unpack_from(self.order + self.word, data, value)[0]
            self.entries[tag] = _Entry(kind, count, raw, value)
            at += self.width

    def number(self, tag: int, default: int) -> int:
        """The first number of a tag."""
        entry = self.entries.get(tag)
        if entry is None or entry.kind not in _TYPES or not entry.values:
            return default
        return int(struct.unpack_from(self.order + _TYPES[entry.kind], self.data, entry.at)[0])

    def cut(self, tag: int, most: int) -> None:
        """Leaves the first `most` values of a tag."""
        entry = self.entries.get(tag)
        size = _SIZES.get(entry.kind, 0) if entry else 0
        if entry is None or not size or entry.values <= most:
            return
        head = struct.pack(f"{self.order}HH{self.word}", tag, entry.kind, most)
        inline = self.width - len(head)
        if most * size <= inline:
            value = self.data[entry.at : entry.at + most * size].ljust(inline, b"\0")
        else:
            value = struct.pack(self.order + self.word, entry.at)
        self.entries[tag] = _Entry(entry.kind, most, head + value, entry.at)

    def alone(self) -> bytes:
        """The file with this directory only, and in it the tags that the pixels need."""
        kept = [self.entries[tag].raw for tag in sorted(self.entries) if tag in _PIXELS]
        directory = [struct.pack(self.order + self.count, len(kept)), *kept]
        odd = len(self.data) % 2
        offset, none = (struct.pack(self.order + self.word, at) for at in (len(self.data) + odd, 0))
        head = self.data[:8] if self.big else self.data[:4]
        rest = self.data[len(head) + len(offset) :]
        return b"".join([head, offset, rest, b"\0" * odd, *directory, none])


def read_tiff(data: bytes) -> Container:
    """Raises InputError."""
    try:
        directory = _Directory(data)
        frames = _frames(directory)
        width, height = directory.number(_WIDTH, 0), directory.number(_HEIGHT, 0)
        turn = directory.number(ORIENTATION, 1)
        signed = directory.number(_SAMPLE_FORMAT, 1) == _SIGNED
        buffers, seconds = _cost(directory, width, height)
        alone = directory.alone()
    except (struct.error, OverflowError):  # offsets past the end, or past all numbers
        raise truncated() from None
    if width <= 0 or height <= 0:
        raise damaged()
    if signed:  # Pillow would read 8 bits as if they were not
        raise InputError("IMAGE_UNSUPPORTED_FORMAT", "signed pixels do not say what is white")
    ignored: tuple[str, ...] = ()
    if not 1 <= turn <= 8:
        turn, ignored = 1, (f"orientation {turn}, which means nothing",)
    return Container("TIFF", alone, turn, frames, buffers, seconds, ignored)


def _cost(directory: _Directory, width: int, height: int) -> tuple[int, float]:
    """Bytes beside the image, and seconds; offsets past the last strip or tile are left out on the way."""
    compression = directory.number(_COMPRESSION, _UNCOMPRESSED)
    samples, bits = directory.number(_SAMPLES, 1), directory.number(_BITS, 1)
    planes = samples if directory.number(_PLANES, 1) == 2 else 1
    # Pillow takes strips where both are named, libtiff, which unpacks, takes tiles.
    if compression == _UNCOMPRESSED:
        tiled = _TILE_OFFSETS in directory.entries and _STRIP_OFFSETS not in directory.entries
    else:
        tiled = _TILE_WIDTH in directory.entries
    if tiled:
        across, down = directory.number(_TILE_WIDTH, 0), directory.number(_TILE_HEIGHT, 0)
    else:
        across, down = width, min(directory.number(_ROWS, height), height)
    if across <= 0 or down <= 0 or samples <= 0 or bits <= 0 or samples > 64 or bits > 64:
        raise InputError("IMAGE_INVALID", "strips, tiles or samples of no size")
    segments = -(-width // across) * -(-height // down) * planes
    for tag in (_STRIP_OFFSETS, _STRIP_BYTES, _TILE_OFFSETS, _TILE_BYTES):
        directory.cut(tag, segments)
    for tag in (_BITS, _SAMPLE_FORMAT, _EXTRA):
        directory.cut(tag, samples)
    segment = -(-across * bits * (samples if planes == 1 else 1) // 8) * down
    if directory.number(_PHOTOMETRIC, 1) == _YCBCR_PHOTOMETRIC or compression in (_OLD_JPEG, _JPEG):
        segment = max(segment, 4 * across * down)
    offsets = [directory.entries.get(tag) for tag in (_STRIP_OFFSETS, _TILE_OFFSETS)]
    listed = max(entry.values if entry else 0 for entry in offsets)
    if listed < segments:  # the rest would be black
        raise truncated()
    seconds = 1e-9 * (segment * segments * _NS_BYTE + listed * _NS_SEGMENT)
    held = listed * _BYTES_SEGMENT
    if compression == _UNCOMPRESSED:
        return held + 16 * across, seconds
    # The segment unpacked, as much again where the codec needs a copy, and the compressed bytes.
    copies = 2 if compression in _LEAN else 5
    return held + copies * segment + len(directory.data), seconds


def _frames(directory: _Directory) -> int:
    """Directories that hang together; counting ends at MAX_FRAMES, at a ring and at damage."""
    seen: set[int] = set()
    at, data, order = directory.first, directory.data, directory.order
    width = struct.calcsize(order + directory.count)
    try:
        while at and at not in seen and len(seen) < MAX_FRAMES:
            seen.add(at)
            entries = struct.unpack_from(order + directory.count, data, at)[0]
            at = struct.unpack_from(order + directory.word, data, at + width + entries * directory.width)[0]
    except (struct.error, OverflowError):
        pass
    return max(1, len(seen))
