"""The map's page: hover, the switch between spaces, queries, and its frame in the page."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.pages import PHONE, WIDE, pages
from tests.browser.scan import findings

_POSITION = """(id) => {
  const plot = document.getElementById("plot");
  const row = [...Array(MAP.ids.length).keys()].find((i) => MAP.ids[i] === id);
  const item = new Int32Array(Uint8Array.from(atob(MAP.item), (c) => c.charCodeAt(0)).buffer);
  for (const trace of plot._fullData) {
    const at = (trace.customdata ?? []).findIndex((point) => item[point] === row);
    if (at < 0) continue;
    const box = plot.getBoundingClientRect(), { _size: size, xaxis, yaxis } = plot._fullLayout;
    return { x: box.x + size.l + xaxis.l2p(trace.x[at]), y: box.y + size.t + yaxis.l2p(trace.y[at]) };
  }
}"""


@pytest.fixture(scope="module")
def drawn(browser, stage):
    """One page for all tests of the module: it carries Plotly, which takes seconds to start."""
    with pages(browser) as new:
        page = new(f"{stage.url}/map/0/")
        page.locator(".scatterlayer .point").first.wait_for()
        yield page


def position(page: Page, id: str) -> dict[str, float]:
    place = page.evaluate(_POSITION, id)
    assert place, f"{id} is not drawn"
    return place


def test_hover_shows_the_picture_and_what_is_known_of_it(drawn):
    place = position(drawn, "chelsea.png")
    drawn.mouse.move(place["x"] - 30, place["y"])
    drawn.mouse.move(place["x"], place["y"], steps=5)
    panel = drawn.locator("#panel")
    expect(panel).to_contain_text("image vector of point chelsea.png")
    expect(panel.get_by_role("img")).to_be_visible()
    assert panel.get_by_role("img").evaluate("image => image.naturalWidth") > 30
    drawn.mouse.click(place["x"], place["y"])
    expect(panel.locator("ol li")).not_to_have_count(0)


def test_the_switch_moves_words_and_pictures_apart_and_together(drawn):
    expect(drawn.get_by_label("each modality centred")).to_be_checked()
    together = position(drawn, "chelsea.png")
    drawn.get_by_label("as it is").check()
    assert position(drawn, "chelsea.png") != together
    drawn.get_by_label("each modality centred").check()
    assert position(drawn, "chelsea.png") == together


def test_a_query_shows_its_nearest(drawn):
    query = drawn.get_by_role("button", name="a pet")
    query.click()
    expect(query).to_have_attribute("aria-pressed", "true")
    expect(drawn.locator("#panel ol")).to_contain_text("a cat")
    query.click()
    expect(query).to_have_attribute("aria-pressed", "false")


def test_a_word_is_found_by_keyboard(drawn):
    drawn.get_by_label("Find").fill("rocket")
    drawn.keyboard.press("Enter")
    expect(drawn.locator("#panel")).to_contain_text("rocket")


def test_the_map_is_accessible_and_fits_a_phone(drawn):
    for size, scheme in ((WIDE, "light"), (WIDE, "dark"), (PHONE, "light")):
        drawn.set_viewport_size({"width": size[0], "height": size[1]})
        drawn.emulate_media(color_scheme=scheme)
        drawn.wait_for_timeout(300)  # Plotly redraws
        assert findings(drawn) == [], (size, scheme)
        assert drawn.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def test_the_tab_shows_it_in_a_sandbox(visit):
    page = visit("/?view=map")
    frame = page.frame_locator("iframe")
    expect(frame.get_by_role("heading", name="Map of words-and-photographs")).to_be_visible()
    frame.get_by_role("button", name="a pet").click()
    expect(frame.locator("#panel ol")).to_contain_text("a cat")
    inner = page.frames[1]
    with pytest.raises(Exception, match=r"SecurityError|Blocked a frame"):
        inner.evaluate("parent.document.title")
