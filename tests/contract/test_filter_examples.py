"""Every example of docs/filters.md, on every store, with payload indexes and without."""

from __future__ import annotations

import json
import re
from zoneinfo import ZoneInfo

import pytest

from clipsearch.filters.convert import to_proto
from clipsearch.filters.expressions import FilterError, parse_expressions
from clipsearch.serving.errors import InvalidArgument
from search_service.api.filter_proto import read_filter
from search_service.query.calibration_cache import CalibrationCache
from search_service.query.points import PointReads
from search_service.settings import SearchSettings
from search_service.stores.collection import TextIndex
from search_service.stores.filters import Filter, HasId, HasVector, MatchValue, Range
from search_service.stores.protocol import Listing, PayloadSelection, StoredPoint
from search_service.write.points import PointWrites
from search_service.write.successors import Successors
from tests import documents
from tests.contract.shop import ids_of, spec, unit

PAGE = documents.read("docs/filters.md")
GOODS = json.loads(next(block.text for block in documents.blocks(PAGE) if block.language == "json"))
INDEXES = {
    "sku": "keyword",
    "price": "float",
    "brand": "keyword",
    "sold": "bool",
    '"unit price"': "integer",
    "year": "integer",
    "made": "datetime",
    "added": "datetime",
    "tags": "keyword",
    "note": TextIndex(phrase_matching=True),
    "place": "geo",
    "shops[].city": "keyword",
}


def rows(title: str) -> list[tuple[str, str]]:
    """The first two cells of the table of that title."""
    table = PAGE.partition(f"<!-- {title} -->\n")[2].partition("<!-- end -->")[0]
    cells = [re.split(r"(?<!\\)\|", line)[1:3] for line in table.splitlines()[2:]]
    return [
        (left.strip()[1:-1].replace(r"\|", "|"), right.strip().replace(r"\|", "|")) for left, right in cells
    ]


ZONES = re.findall(r"<!-- examples (\S+) -->", PAGE)
EXAMPLES = [(zone, *row) for zone in ZONES for row in rows(f"examples {zone}")]


@pytest.fixture(params=["indexed", "without an index"])
async def goods(request, store):
    made = spec(payload_indexes=INDEXES if request.param == "indexed" else {})
    await store.create_collection(made)
    await store.upsert(
        made.name, [StoredPoint(name, payload, image=unit(1)) for name, payload in GOODS.items()]
    )
    points = PointReads(store)

    async def find(expression: str, zone: str = "UTC") -> set[str]:
        filter = read_filter(to_proto(parse_expressions([expression], ZoneInfo(zone))), SearchSettings())
        asked = Listing(made.name, filter)
        page = await points.page(asked, limit=10, cursor=None, order=None)
        assert await points.count(made.name, filter) == len(page.points)
        return {point.id for point in page.points}

    return find


async def test_every_example_finds_what_the_page_says(goods):
    assert len(EXAMPLES) > 50
    for zone, expression, names in EXAMPLES:
        found = await goods(expression, zone)
        assert found == set(filter(None, names.split(", "))), f"{expression} in {zone}"


async def test_a_comparison_with_another_type_says_so(goods):
    for expression, said in rows("mismatched"):
        with pytest.raises(InvalidArgument) as caught:
            await goods(expression)
        assert caught.value.reason == "FILTER_TYPE_MISMATCH", expression
        assert said in caught.value.message, expression


@pytest.mark.parametrize(("expression", "said"), rows("refused"))
def test_what_cannot_be_read_says_what_was_meant(expression, said):
    with pytest.raises(FilterError) as caught:
        to_proto([expression])
    assert said in str(caught.value)
    assert repr(expression) in str(caught.value)


async def test_a_name_of_any_characters_is_selected_indexed_and_filtered(store):
    paths = {"unit price": '"unit price"', "a.b": '"a.b"', "exif:Model": '"exif:Model"', "größe": "größe"}
    made = spec(payload_indexes=dict.fromkeys(paths.values(), "integer"))
    await store.create_collection(made)
    payload = {**dict.fromkeys(paths, 5), "b": 1, "a": {"b": 2}}
    await store.upsert(made.name, [StoredPoint("p", payload, image=unit(1))])
    for name, path in paths.items():
        (point,) = await store.get(made.name, ["p"], payload=PayloadSelection(include=(path,)))
        assert point.payload == {name: 5}
        assert await store.count(made.name, Filter(must=(Range(path, gte=5),))) == 1


async def test_an_element_of_a_list_is_compared_by_what_it_holds(store, collection):
    await store.upsert(collection, [StoredPoint("p", {"tags": ["red", 5]}, image=unit(1))])
    points = PointReads(store)
    assert await points.count(collection, Filter(must_not=(MatchValue("tags[0]", "blue"),))) == 1
    for wrong in (MatchValue("tags[0]", 5), MatchValue("tags[1]", "red")):
        with pytest.raises(InvalidArgument) as refused:
            await points.count(collection, Filter(must_not=(wrong,)))
        assert refused.value.reason == "FILTER_TYPE_MISMATCH"


async def test_a_deletion_by_a_misspelt_field_deletes_nothing(store):
    made = spec()
    await store.create_collection(made)
    points = PointWrites(store, Successors(store), CalibrationCache(store))
    misspelt = read_filter(to_proto("barnd!=acme"), SearchSettings())
    assert await points.delete(made.name, misspelt) == 0  # of an empty collection
    await store.upsert(made.name, [StoredPoint("p", {"brand": "acme"}, image=unit(1))])
    for expression in ("barnd!=acme", "brand!=5"):
        filter = read_filter(to_proto(expression), SearchSettings())
        with pytest.raises(InvalidArgument):
            await points.delete(made.name, filter)
    assert await store.count(made.name) == 1


async def test_paths_go_into_lists_and_objects(store, collection):
    shops = [{"open": False}, {"open": True, "city": "Riga"}]
    payload = {"flags": [False, 3, True], "shops": shops, "unit price": 5}
    await store.upsert(collection, [StoredPoint("a", payload, image=unit(1))])
    for condition, found in [
        (MatchValue("flags[2]", True), True),
        (MatchValue("flags[0]", True), False),
        (MatchValue("flags[]", True), True),
        (MatchValue("shops[].open", True), True),
        (MatchValue("shops[0].open", True), False),
        (MatchValue("shops[1].city", "Riga"), True),
        (Range('"unit price"', lt=6), True),
    ]:
        assert await ids_of(store, collection, condition) == ({"a"} if found else set()), condition


@pytest.mark.parametrize("condition", [HasId(("p",)), HasVector("text")])
async def test_readings_of_what_compares_no_field_are_no_error(store, collection, condition):
    points = PointReads(store)
    filter = Filter(must=(Filter(should=(condition,), readings=True),))
    assert await points.count(collection, filter) == 0
