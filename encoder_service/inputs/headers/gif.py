"""GIF files: their first frame, and how many there are."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice

from encoder_service.inputs.errors import damaged, truncated
from encoder_service.inputs.headers.container import MAX_FRAMES, Container

_NS_PIXEL, _NS_BYTE = 8.0, 20.0
# Extensions and frames that are looked at; a hostile file has millions.
_MAX_PARTS = 200_000
# A pixel of a screen that the first frame does not fill: white, and the frame cut out and as RGB.
_BYTES_AROUND = 9
_EXTENSION, _FRAME, _CONTROL = 0x21, 0x2C, 0xF9


def read_gif(data: bytes) -> Container:
    """Raises InputError."""
    try:
        width, height = struct.unpack_from("<HH", data, 6)
        at = 13 + _palette(data[10])
        kept, control, frame = data[:at], b"", b""
        parts = islice(_parts(data, at), _MAX_PARTS)
        for start, end in parts:
            if data[start] == _FRAME:
                frame = data[start:end]
                break
            if data[start + 1] == _CONTROL:
                control = data[start:end]
        left, top, across, down = struct.unpack_from("<HHHH", frame, 1)
    except (IndexError, struct.error):
        raise (damaged() if data.endswith(b";") else truncated()) from None
    further = (start for start, _ in parts if data[start] == _FRAME)
    # The first frame's size or the screen's, whichever is larger.
    width, height = max(width, left + across), max(height, top + down)
    box = (left, top, left + across, top + down)
    whole = box == (0, 0, width, height) or bool(control and control[3] & 1)
    return Container(
        "GIF",
        b"".join([kept, control, frame, b";"]),
        frames=1 + sum(1 for _ in islice(further, MAX_FRAMES - 1)),
        buffers=8 * width + (0 if whole else _BYTES_AROUND * width * height),
        seconds=1e-9 * (width * height * _NS_PIXEL + _NS_BYTE * len(data)),
        drawn=None if whole else box,
    )


def _parts(data: bytes, at: int) -> Iterator[tuple[int, int]]:
    """Where each extension and each frame begins and ends; what is cut ends with the data."""
    while at < len(data):
        start, kind = at, data[at]
        if kind == _EXTENSION:
            at += 2
        elif kind == _FRAME and at + 9 < len(data):
            at += 11 + _palette(data[at + 9])
        elif kind == 0:
            at += 1  # padding, which some writers leave between blocks
            continue
        else:
            return
        while at < len(data) and data[at]:
            at += 1 + data[at]
        at += 1
        yield start, at


def _palette(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0
