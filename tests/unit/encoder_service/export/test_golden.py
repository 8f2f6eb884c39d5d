from __future__ import annotations

from encoder_service.bundle import ImageRules
from encoder_service.export import golden


def test_every_photograph_has_a_caption_and_six_different_views() -> None:
    photos = golden.photos()
    assert len(photos) == 18
    assert all(photo.caption for photo in photos)
    pixels = golden.pixels(photos, ImageRules(size=32, resize="squash"))
    assert pixels.shape == (18 * golden.VIEWS, 32, 32, 3)
    assert len({view.tobytes() for view in pixels}) == len(pixels)
