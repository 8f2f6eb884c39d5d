"""Pages in the order of a field, where points go between the calls that make one."""

from __future__ import annotations

from search_service.deadline import Deadline
from search_service.query.ordering import Listing, ordered_page
from search_service.stores.filters import Filter
from search_service.stores.protocol import OrderedPoints, PayloadSelection, StoredPoint, point_uuid
from search_service.stores.questions import OrderBy


class Going:
    """A store whose points were deleted since it had listed them, at the first asking."""

    def __init__(self) -> None:
        self.answers = [OrderedPoints((), (), True), OrderedPoints((1,), (StoredPoint("a", {}),), False)]

    def uuid(self, point_id: str) -> str:
        return point_uuid(point_id)

    async def ordered(self, *_: object, **__: object) -> OrderedPoints:
        return self.answers.pop(0)


async def test_a_list_whose_points_are_all_gone_is_asked_for_again():
    listing = Listing("c", Filter(), PayloadSelection(), False)
    page = await ordered_page(Going(), listing, OrderBy("n", "integer"), 10, None, Deadline.after(30))
    assert [point.id for point in page.points] == ["a"]
