"""Two collections under one query: what both find, and how ranks moved."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.corpus import MANY, PHOTOS
from tests.browser.processes import web

WORDS = "words-and-photographs"


def test_two_pairs_of_services_are_compared(open_page, stage, tmp_path):
    services = ["--server", stage.search.address, "--encoder", stage.encoder.address]
    second = ["--compare-server", stage.search.address, "--compare-encoder", stage.encoder.address]
    with web(tmp_path, [*services, *second]) as url:
        page = open_page(f"{url}/?view=compare&collection={PHOTOS}&q=a+cat")
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
