"""Everything by keyboard alone."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.browser.corpus import PHOTOS


def tab_to(page: Page, selector: str, at_most: int = 60) -> None:
    """Presses Tab until the focus is on what the selector names."""
    for _ in range(at_most):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            outlined = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outlined != "none", f"{selector} does not show its focus"
            return
    raise AssertionError(f"{at_most} tabs do not reach {selector}")


def test_from_the_load_to_details_and_more_like_this(visit):
    page = visit(f"/?collection={PHOTOS}")
    page.keyboard.press("/")
    expect(page.get_by_label("Words to search by")).to_be_focused()
    page.keyboard.type("a cat / dog")  # a slash in the box is a slash
    expect(page.get_by_label("Words to search by")).to_have_value("a cat / dog")
    page.keyboard.press("Enter")
    page.locator("[data-id]").first.wait_for()
    tab_to(page, "[data-id] .open")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="More like this")).to_be_focused()
    page.keyboard.press("/")  # does not reach behind the dialog
    expect(dialog.get_by_role("button", name="More like this")).to_be_focused()
    for _ in range(14):
        page.keyboard.press("Tab")
        # The browser's own controls may come in between; then the body is what the page knows of.
        assert page.evaluate("document.activeElement.matches('body, dialog *')")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.locator("[data-id] .open").first).to_be_focused()
    tab_to(page, "[data-id] .do button", 1)
    page.keyboard.press("Enter")
    expect(page.locator(".found")).to_contain_text("more like")
    expect(page.locator(".found")).to_be_focused()
    assert "like=" in page.url


def test_arrow_keys_walk_the_tabs(visit):
    page = visit()
    tab_to(page, "[role=tab]", 5)
    for key, name in (
        ("ArrowRight", "Compare"),
        ("End", "Map"),
        ("ArrowRight", "Search"),
        ("ArrowLeft", "Map"),
        ("Home", "Search"),
    ):
        page.keyboard.press(key)
        expect(page.get_by_role("tab", name=name)).to_be_focused()
        expect(page.get_by_role("tab", selected=True)).to_have_text(name)
        expect(page.get_by_role("tabpanel")).to_have_count(1)


def test_the_skip_link_comes_first_and_leads_to_the_search(visit):
    page = visit()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the search")).to_be_focused()
    expect(page.get_by_role("link", name="Skip to the search")).to_be_in_viewport()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Words to search by")).to_be_focused()
