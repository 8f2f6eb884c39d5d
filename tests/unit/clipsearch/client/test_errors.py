"""What a caller reads of an error."""

from __future__ import annotations

import pytest

from clipsearch.client.errors import from_status
from clipsearch.serving.errors import InvalidArgument, Unavailable, to_status


@pytest.mark.parametrize("item", ["images[0]", "images[70]", "cat.jpg"])
def test_an_items_error_names_the_item_once(item: str) -> None:
    error = from_status(to_status(InvalidArgument("images[0]", "it is empty", "IMAGE_EMPTY"))).about(item)
    assert (error.message, error.field, error.reason) == (f"{item}: it is empty", item, "IMAGE_EMPTY")


def test_an_error_of_no_field_is_led_by_the_item() -> None:
    assert from_status(to_status(Unavailable("encoder", "it is away"))).about("a").message == "a: it is away"
