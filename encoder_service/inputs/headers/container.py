"""An image file taken apart: what its first image needs to be decoded, and what that will cost.

Metadata never reaches the decoder. It cannot refuse the pixels then, and it cannot cost anything: an
EXIF block of 64 KB whose 5,000 entries all name the same 60 KB takes 300 MB to be read.
"""

from __future__ import annotations

from dataclasses import dataclass

# More frames than this are not counted: a hostile file of 20 MiB would keep a core busy with it.
MAX_FRAMES = 1000


@dataclass(frozen=True, slots=True)
class Container:
    """A file, reduced to its first image.

    `orientation`: EXIF's number, 1 to 8, for what turns the decoded image upright; `buffers`: bytes that
    the decoder holds beside the decoded image; `seconds`: of one core that it takes, estimated;
    `ignored`: what could not be read beside the pixels, for the caller; `drawn`: where the file has pixels
    (left, top, right, bottom), None = everywhere.
    """

    format: str
    data: bytes
    orientation: int = 1
    frames: int = 1
    buffers: int = 0
    seconds: float = 0.0
    ignored: tuple[str, ...] = ()
    drawn: tuple[int, int, int, int] | None = None
