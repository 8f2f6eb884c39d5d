"""Two collections under one query: what both find, and how ranks moved."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.corpus import MANY, PHOTOS
from tests.processes import WebProcess

WORDS = "words-and-photographs"


@pytest.fixture(scope="module")
def twice(stage, tmp_path_factory) -> Iterator[str]:
    """The address of a page that reaches the same pair of services twice."""
    services = ["--server", stage.search.address, "--encoder", stage.encoder.address]
    second = ["--compare-server", stage.search.address, "--compare-encoder", stage.encoder.address]
    with WebProcess(tmp_path_factory.mktemp("twice"), *services, *second) as page:
        yield f"http://{page.address}"


def test_two_pairs_of_services_are_compared(open_page, twice):
    page = open_page(f"{twice}/?view=compare&collection={PHOTOS}&q=a+cat")
    right = page.get_by_label("Right collection")
    expect(right.locator("optgroup")).to_have_count(2)
    right.select_option(value=f'["b","{PHOTOS}"]')
    expect(page.locator(".share")).to_have_text("10 of the first 10 are in both")
    expect(page.get_by_text("same rank")).to_have_count(20)
    assert "right-side=b" in page.url
    page.get_by_label("Right results").locator(".open").last.click()
    page.get_by_role("dialog").get_by_role("button", name="More like this").click()
    expect(page.get_by_label("Left collection")).to_have_value(f'["b","{PHOTOS}"]')
    expect(page.locator(".share")).to_have_text("10 of the first 10 are in both")


def test_filters_count_on_both_sides(open_page, twice):
    page = open_page(
        f"{twice}/?view=compare&collection={PHOTOS}&right={PHOTOS}&right-side=b&q=a+photograph&filter=kind%3D%22jpg%22"
    )
    expect(page.locator(".share")).to_have_text("5 of the first 5 are in both")
    expect(page.get_by_text("Both are filtered: kind is jpg.")).to_be_visible()
    page.locator("#view-compare .filters summary", has_text="Filters (1)").click()
    page.get_by_label("taken to").fill("2001-05-01")  # the index of both; no photograph of that day is a jpg
    page.keyboard.press("Tab")
    expect(page.locator(".share")).to_have_text("Neither finds anything")
    page.get_by_role("button", name="Remove the filter kind is jpg").click()
    expect(page.locator(".share")).to_have_text("1 of the first 1 are in both")
    for side in ("Left", "Right"):
        expect(page.get_by_label(f"{side} results").locator(".name")).to_have_text("astronaut.png")
    assert "taken" in page.url
    assert "kind" not in page.url


def test_a_collection_without_the_field_says_so_beside_the_other(visit):
    page = visit(f"/?view=compare&collection={PHOTOS}&right={MANY}&q=note&filter=kind%3D%22png%22")
    expect(page.get_by_label("Left results").locator("li")).to_have_count(10)
    expect(page.get_by_label("Right results")).to_contain_text(
        "No point here has the field kind, so none passes “kind is png”."
    )
    expect(page.get_by_role("alert")).to_have_count(0)
    page.locator("#view-compare .filters > summary").click()
    expect(page.get_by_text("The two collections have no payload index in common.")).to_be_visible()
    page.watch.expected.append("status of 400")


def test_overlap_and_shifts_are_counted_by_id(visit):
    page = visit(f"/?view=compare&collection={PHOTOS}&right={WORDS}&q=a+motorcycle")
    left, right = page.get_by_label("Left results"), page.get_by_label("Right results")
    expect(left.locator("li")).to_have_count(10)
    expect(right.locator("li")).to_have_count(10)
    names = [[one.inner_text() for one in side.locator(".name").all()] for side in (left, right)]
    both = set(names[0]) & set(names[1])
    assert "motorcycle_left.png" in both
    expect(page.locator(".share")).to_have_text(f"{len(both)} of the first 10 are in both")
    assert left.get_by_text("only here").count() == 10 - len(both)
    for at, name in enumerate(names[0]):
        said = left.locator("li").nth(at).locator(".shift").inner_text()
        if name in both:
            by = names[1].index(name) - at
            assert said.split("\n")[0].startswith(
                "same rank" if by == 0 else f"{'▲' if by > 0 else '▼'} {abs(by)}"
            )


def test_the_sides_are_chosen_and_kept_in_the_address(visit):
    page = visit(f"/?collection={PHOTOS}&q=coffee")
    page.get_by_role("tab", name="Compare").click()
    page.get_by_label("Right collection").focus()
    page.get_by_label("Right collection").select_option(label=f"{MANY} (60)")
    expect(page.locator(".share")).to_have_text("0 of the first 10 are in both")
    expect(page.get_by_label("Right collection")).to_be_focused()
    assert "right=many" in page.url
    page.get_by_label("Left results").locator(".open").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
