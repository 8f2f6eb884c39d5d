"""GIF files: their first frame, and how many there are."""

from __future__ import annotations

import struct

from encoder_service.inputs.errors import InputError, truncated
from encoder_service.inputs.headers.container import MAX_FRAMES, Container

_NS_PIXEL, _NS_BYTE = 8.0, 20.0
_MAX_STEPS = 200_000
_EXTENSION, _FRAME, _CONTROL = 0x21, 0x2C, 0xF9


def read_gif(data: bytes) -> Container:
    """Raises InputError."""
    try:
        kept, at, size = _first_frame(data)
    except (IndexError, struct.error):
        raise truncated() from None
    return Container(
        "GIF",
        b"".join([*kept, b";"]),
        frames=1 + _further_frames(data, at),
        buffers=8 * size[0],
        seconds=1e-9 * (size[0] * size[1] * _NS_PIXEL + _NS_BYTE * len(data)),
    )


def _first_frame(data: bytes) -> tuple[list[bytes], int, tuple[int, int]]:
    """What the first frame needs, where it ends, and its size or the screen's, whichever is larger."""
    width, height = struct.unpack_from("<HH", data, 6)
    at = 13 + _palette(data[10])
    kept, control = [data[:at]], b""
    while True:
        start, kind = at, data[at]
        if kind == _EXTENSION:
            at = _blocks(data, at + 2)
            if data[start + 1] == _CONTROL:
                control = data[start:at]
        elif kind == _FRAME:
            left, top, across, down = struct.unpack_from("<HHHH", data, at + 1)
            at += 10 + _palette(data[at + 9])
            # What ends before its last block is decoded as far as that goes; Pillow then says so.
            end = _blocks(data, at + 1, cut=True)
            return (
                [*kept, control, data[start:end]],
                end,
                (max(width, left + across), max(height, top + down)),
            )
        elif kind == 0:
            at += 1  # padding, which some writers leave between blocks
        else:
            raise InputError("IMAGE_INVALID", "a GIF without a frame")


def _blocks(data: bytes, at: int, cut: bool = False) -> int:
    """Where the sub-blocks that begin at `at` end."""
    while at < len(data) and data[at]:
        at += 1 + data[at]
    if at >= len(data) and not cut:
        raise truncated()
    return at + 1


def _further_frames(data: bytes, at: int) -> int:
    """Frames from `at` on; those that are counted, and the blocks passed for it, are bounded."""
    frames = steps = 0
    try:
        while frames < MAX_FRAMES - 1 and steps < _MAX_STEPS and at < len(data):
            if data[at] == _FRAME:
                frames += 1
                at += 11 + _palette(data[at + 9])
            elif data[at] == _EXTENSION:
                at += 2
            else:
                break
            while data[at] and steps < _MAX_STEPS:
                at += 1 + data[at]
                steps += 1
            at += 1
            steps += 1
    except IndexError:
        pass  # damaged behind the first frame
    return frames


def _palette(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0
