"""Names and payloads that would like to be markup are shown as the text they are."""

from __future__ import annotations

import shutil

from playwright.sync_api import Page, expect

from tests.browser.corpus import HOSTILE, LONG_WORD, MARKUP_NAME, MARKUP_TEXT
from tests.browser.pages import PHONE, open_changed

ADDRESS = f"/?collection={HOSTILE}&q=a+cat"


def nothing_ran(page: Page) -> None:
    """No element was made of foreign text: only our own script, no handlers, no frames."""
    assert page.locator("script").count() == 1
    assert page.locator("[onerror], [onload], [onmouseover], iframe, img[src='x']").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def test_names_and_texts_are_shown_as_they_are_and_turned_letters_made_visible(visit):
    page = visit(ADDRESS)
    for text in (MARKUP_NAME, "cat⟨U+202E⟩gnp.exe.png"):
        expect(page.get_by_text(text, exact=True)).to_be_visible()
    expect(page.get_by_text(MARKUP_TEXT, exact=True).first).to_be_visible()
    expect(page.locator(".choices")).to_contain_text("⟨U+202E⟩evil")
    assert "\u202e" not in page.locator("body").inner_text()
    tag = page.get_by_role("checkbox", name="<script>alert(2)</script>")
    tag.check()
    expect(page.locator("[data-id]")).to_have_count(1)
    nothing_ran(page)
    tag.uncheck()
    page.locator("[data-id] .open").filter(has_text=MARKUP_NAME).click()
    dialog = page.get_by_role("dialog")
    for text in (
        "<script>alert(3)</script>",
        "javascript:alert(4)",
        "'\"><svg onload=alert(6)>",
        "<i onmouseover=alert(7)>",
    ):
        expect(dialog.get_by_text(text).first).to_be_visible()
    nothing_ran(page)
    dialog.get_by_role("button", name="More like this").click()
    expect(page.locator(".found")).to_have_text(f"more like {MARKUP_NAME}")
    page.reload()  # now from the address
    expect(page.locator(".found")).to_contain_text("<svg onload=alert(6)>")
    nothing_ran(page)


def test_very_long_words_widen_nothing(visit):
    page = visit(ADDRESS, size=PHONE)
    expect(page.locator("[data-id]")).to_have_count(4)
    nothing_ran(page)
    page.locator("[data-id] .open").filter(has_text=LONG_WORD[:40]).last.click()
    inside = page.get_by_role("dialog").get_by_label("Details")
    assert inside.evaluate("box => box.scrollWidth - box.clientWidth") <= 0


def test_a_hostile_query_label_and_file_of_ones_own(visit, stage, tmp_path):
    page = visit(f"/?collection={HOSTILE}&q=%3Cimg+src%3Dx+onerror%3Dalert(8)%3E&filter=%3Cb%3E%3D%22x%22")
    page.watch.expected.append("status of 400")  # no point has such a field
    expect(page.get_by_label("Words to search by")).to_have_value("<img src=x onerror=alert(8)>")
    nothing_ran(page)
    page.get_by_role("tab", name="Classify").click()
    page.get_by_label("Labels").fill("<img src=x onerror=alert(9)>, a cat")
    picture = tmp_path / MARKUP_NAME
    shutil.copy(stage.photos / "chelsea.png", picture)
    page.locator("#view-classify input[type=file]").set_input_files(picture)
    expect(page.get_by_role("rowheader", name="<img src=x onerror=alert(9)>")).to_be_visible()
    expect(page.locator(".stage")).to_contain_text(MARKUP_NAME)
    nothing_ran(page)


def test_a_service_says_why_it_is_down_in_markup(open_page, stage):
    markup = "<img src=x onerror=alert(10)>\u202e"

    def down(state):
        state["sides"]["a"]["encoder"].update(ok=False, message=markup, reason=markup)

    page = open_changed(open_page, stage.url, down)
    told = page.get_by_role("alert")
    expect(told).to_contain_text("<img src=x onerror=alert(10)>⟨U+202E⟩. Reason: <img")
    nothing_ran(page)
