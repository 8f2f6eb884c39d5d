"""A bundle small enough to build in a moment, and images for it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.toy_bundle import build_toy


@pytest.fixture
def jpeg() -> Callable[..., bytes]:
    """Makes the bytes of an image of one colour."""

    def make(colour: tuple[int, int, int] = (200, 30, 30), size: tuple[int, int] = (20, 16)) -> bytes:
        buffer = io.BytesIO()
        Image.new("RGB", size, colour).save(buffer, "JPEG", quality=95)
        return buffer.getvalue()

    return make


@pytest.fixture(scope="session")
def photo(photos: list[Path]) -> Image.Image:
    """One of the sample photographs, RGB."""
    return Image.open(next(path for path in photos if path.stem == "coffee")).convert("RGB")


@pytest.fixture(scope="session")
def toy_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose image vector is of the mean colour and whose text vector is of the bag of words."""
    folder = tmp_path_factory.mktemp("toy")
    build_toy(folder)
    return folder
