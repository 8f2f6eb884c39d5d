"""Real photographs to try the search on, read out of the wheels of scikit-image and scikit-learn.

Only photographs: the drawings, charts and phantoms among those packages' samples are left out.
scikit-image's are in the public domain or CC0; `china.jpg` and `flower.jpg` are CC BY 2.0 by the
Flickr users danielbuechele and vultilion.
"""

from __future__ import annotations

from pathlib import Path

from clipsearch.downloads.wheels import Wheel, fetch, read_member
from clipsearch.files import write_whole

SCIKIT_IMAGE = Wheel(
    project="scikit-image",
    version="0.26.0",
    file="scikit_image-0.26.0-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl",
    sha256="74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
    megabytes=14,
)
SCIKIT_LEARN = Wheel(
    project="scikit-learn",
    version="1.9.1",
    file="scikit_learn-1.9.1-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
    sha256="52a0703bbc07ad27f560fa63fa68e4c54dd735bfbbf65b4dd3c225dc7547b6df",
    megabytes=9,
)

SUBJECTS = {
    "astronaut.png": "an astronaut",
    "brick.png": "bricks",
    "camera.png": "a camera",
    "chelsea.png": "a cat",
    "china.jpg": "a temple",
    "coffee.png": "a cup of coffee",
    "coins.png": "coins",
    "flower.jpg": "a flower",
    "grass.png": "grass",
    "gravel.png": "gravel",
    "hubble_deep_field.jpg": "galaxies",
    "ihc.png": "stained tissue",
    "moon.png": "the moon",
    "motorcycle_left.png": "a motorcycle",
    "motorcycle_right.png": "a motorcycle",
    "page.png": "a page of text",
    "retina.jpg": "a retina",
    "rocket.jpg": "a rocket",
}
"""What each photograph shows."""

_OF_SCIKIT_LEARN = {"china.jpg", "flower.jpg"}


def write_samples(folder: Path | str) -> list[Path]:
    """Writes the sample photographs into `folder` (made if need be) under their own names.

    The wheels come from the cache of `clipsearch.downloads.wheels`, or from the package index the first time.
    Raises WheelError if they cannot be had.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for wheel, inside, names in (
        (SCIKIT_IMAGE, "skimage/data", SUBJECTS.keys() - _OF_SCIKIT_LEARN),
        (SCIKIT_LEARN, "sklearn/datasets/images", _OF_SCIKIT_LEARN),
    ):
        archive = fetch(wheel)
        for name in names:
            write_whole(folder / name, read_member(archive, f"{inside}/{name}"))
    return sorted(folder / name for name in SUBJECTS)
