from __future__ import annotations

import numpy as np

from encoder_service.bundle import ImageRules
from encoder_service.export import golden
from encoder_service.export.architectures import ARCHITECTURES, tokenizer


def test_the_texts_are_200_and_from_a_word_to_more_than_the_context() -> None:
    texts = [text for pair in golden.text_pairs() for text in pair]
    lengths = [len(ids.ids) for ids in tokenizer(ARCHITECTURES["clip-vit-base-patch32"]).encode_batch(texts)]
    assert len(texts) == 200
    assert len(set(texts)) == 200
    assert min(lengths) == 3
    assert max(lengths) > 80


def test_every_photograph_has_a_caption_and_six_different_views() -> None:
    photos = golden.photos()
    assert len(photos) == 18
    assert all(photo.caption for photo in photos)
    pixels = golden.pixels(photos, ImageRules(size=32, resize="squash"))
    assert pixels.shape == (18 * golden.VIEWS, 32, 32, 3)
    assert len({view.tobytes() for view in pixels}) == len(pixels)


def test_the_views_of_a_photograph_follow_one_another() -> None:
    photo = golden.photos()[0]
    whole, mirrored, first, *_ = (np.asarray(view) for view in golden.views(photo))
    np.testing.assert_array_equal(mirrored, whole[:, ::-1])
    np.testing.assert_array_equal(first, whole[: first.shape[0], : first.shape[1]])
