"""The images and texts that bundles are measured on.

Texts: `texts.txt`, a pair a line that says the same in two ways (1 to more than 80 tokens, several
scripts, signs, odd spacing). Images: the sample photographs of `clipsearch.downloads.samples`, each in six
views. Captions: `captions.txt`, one a photograph. Small, but the same for every model: good for comparing
a graph with its reference, not for ranking models.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipsearch.downloads.samples import write_samples
from encoder_service.bundle import ImageRules
from encoder_service.export import Progress
from encoder_service.inputs.pixels import fit

VIEWS = 6
_KEPT = 0.75  # of each edge, in the crops


@dataclass(frozen=True, slots=True)
class Photo:
    """A photograph, RGB, and what it shows."""

    image: Image.Image
    caption: str


def photos(progress: Progress = lambda message: None) -> list[Photo]:
    """The sample photographs in a fixed order. Raises clipsearch.downloads.wheels.WheelError."""
    progress("reading the golden photographs")
    captions = dict(_pairs("captions.txt"))
    with tempfile.TemporaryDirectory() as folder:
        paths = sorted(write_samples(Path(folder)))
        return [Photo(Image.open(path).convert("RGB"), captions[path.name]) for path in paths]


def views(photo: Photo) -> list[Image.Image]:
    """The whole image, its mirror image, and its four corners."""
    image = photo.image
    width, height = (round(_KEPT * edge) for edge in image.size)
    right, low = image.width - width, image.height - height
    corners = [(0, 0), (right, 0), (0, low), (right, low)]
    crops = [image.crop((x, y, x + width, y + height)) for x, y in corners]
    return [image, image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), *crops]


def pixels(photographs: list[Photo], rules: ImageRules) -> NDArray[np.uint8]:
    """All views of all photographs as the image graph takes them, uint8 [n * VIEWS, size, size, 3]."""
    return np.stack([np.asarray(fit(view, rules)) for photo in photographs for view in views(photo)])


def text_pairs() -> list[tuple[str, str]]:
    """Texts that say the same in two ways."""
    return _pairs("texts.txt")


def _pairs(name: str) -> list[tuple[str, str]]:
    content = (Path(__file__).parent / name).read_text(encoding="utf-8")
    pairs = [line.split("\t") for line in content.removesuffix("\n").split("\n")]
    return [(left, right) for left, right in pairs]
