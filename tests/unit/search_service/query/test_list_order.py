"""Pages in the order of a field, where points go between the calls that make one."""

from __future__ import annotations

import pytest

from clipsearch.serving.errors import InvalidArgument, Unavailable
from search_service.query.list_order import check_cursor, ordered_page
from search_service.stores.protocol import Listing, OrderedPoints, Page, StoredPoint, point_uuid
from search_service.stores.questions import OrderBy


class Going:
    """A store whose points were deleted since it had listed them, so many times."""

    def __init__(self, times: int) -> None:
        self.answers = [OrderedPoints((), (), True)] * times
        self.answers.append(OrderedPoints((1,), (StoredPoint("a", {}),), False))

    def uuid(self, point_id: str) -> str:
        return point_uuid(point_id)

    async def ordered(self, *_: object, **__: object) -> OrderedPoints:
        return self.answers.pop(0)


async def page(store: Going) -> Page:
    listing = Listing("c")
    return await ordered_page(store, listing, OrderBy("n", "integer"), 10, None)


async def test_a_list_whose_points_are_all_gone_is_asked_for_again():
    assert [point.id for point in (await page(Going(2))).points] == ["a"]


async def test_one_that_stays_so_is_given_up():
    store = Going(10)
    with pytest.raises(Unavailable, match="again and again"):
        await page(store)
    assert len(store.answers) == 8


@pytest.mark.parametrize("cursor", ["", "x", "0", "../..", "{6f1e3c0a-0d5b-5a55-9c0e-2f6f0c1a7d11}"])
def test_a_bad_cursor_is_refused(cursor):
    with pytest.raises(InvalidArgument) as refused:
        check_cursor(cursor)
    assert (refused.value.field, refused.value.reason) == ("page_token", "PAGE_TOKEN_INVALID")
