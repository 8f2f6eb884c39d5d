"""Small images of local files, as data that a page can carry in itself."""

from __future__ import annotations

import base64
import io
from pathlib import Path

EDGE = 128


def thumbnail(path: Path) -> str | None:
    """A JPEG as a data URI, its longest edge EDGE pixels; None if the file is not there or no image."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            opened.draft("RGB", (2 * EDGE, 2 * EDGE))
            image = ImageOps.exif_transpose(opened).convert("RGB")
        image.thumbnail((EDGE, EDGE))
        jpeg = io.BytesIO()
        image.save(jpeg, "JPEG", quality=70)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg.getvalue()).decode('ascii')}"
