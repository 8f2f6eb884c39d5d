"""Odd but intact images are read, each as what it shows."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from encoder_service.bundle import graph_file, read_manifest
from encoder_service.inputs import images
from encoder_service.inputs.errors import InputError
from encoder_service.inputs.pixels import fit
from encoder_service.runtime.session import OnnxSession, Pixels, Run, plain_images
from tests.decoded import prepare_image
from tests.unit.encoder_service.inputs.corpus import odd_images, saved

COSINE = 0.99
# The only kinds of which something is told: everything else is what it is.
TOLD = {"without end marker": "end marker", "half an end marker": "end marker", "EXIF ": "EXIF"}


@pytest.fixture
def no_pixel_limit() -> Iterator[None]:
    """As the service sets it at its start."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    yield
    Image.MAX_IMAGE_PIXELS = before


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("no_pixel_limit")
def test_every_odd_kind_is_read_and_its_vector_is_that_of_the_plain_image(
    photo: Image.Image, starter_bundle: Path
) -> None:
    manifest = read_manifest(starter_bundle)
    run = plain_images(OnnxSession(starter_bundle / graph_file("image", "fp32"), "cpu", 1)).run
    names, prepared, plain, told = [], [], [], {}
    for name, data, seen in odd_images(photo):
        done = prepare_image(data, manifest.image)
        names.append(name)
        prepared.append(done.pixels)
        plain.append(np.asarray(fit(seen.convert("RGB"), manifest.image)))
        told[name] = " ".join(done.input.ignored)
    assert len(set(names)) == len(names) > 110
    cosines = np.sum(_vectors(run, prepared) * _vectors(run, plain), axis=1)
    assert not {name: cosine for name, cosine in zip(names, cosines, strict=True) if cosine < COSINE}
    for name, words in told.items():
        wanted = next((said for part, said in TOLD.items() if part in name and "asks" not in name), "")
        if wanted or words:
            assert wanted
            assert wanted in words, name


def _vectors(run: Run[Pixels], images: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Each by itself; most of them are the same, so that few have to be computed."""
    known: dict[bytes, NDArray[np.float32]] = {}
    for pixels in images:
        key = pixels.tobytes()
        if key not in known:
            known[key] = run([pixels])[0]
    return np.stack([known[pixels.tobytes()] for pixels in images])


@pytest.mark.parametrize("cut", [3, 40, 400])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_lacks_pixels_is_truncated_even_if_only_few(
    photo: Image.Image, cut: int, progressive: bool
) -> None:
    data = saved(photo.resize((224, 224)), "JPEG", quality=95, progressive=progressive)[:-2]
    rules = images.ImageRules(size=224, resize="crop")
    with pytest.raises(InputError) as caught:
        prepare_image(data[:-cut], rules)
    assert caught.value.reason == "IMAGE_TRUNCATED"


def test_heic_without_its_extra_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0\0\0\x14ispe\0\0\0\0\0\0\0\x40\0\0\0\x40"
    with pytest.raises(
        InputError, match=r"extra `heif` is installed: pip install 'clipsearch\[heif\]'"
    ) as caught:
        prepare_image(heic, images.ImageRules(size=224, resize="crop"))
    assert caught.value.reason == "IMAGE_UNSUPPORTED_FORMAT"
