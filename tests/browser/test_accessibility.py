"""axe-core over every view and state: at desk and phone width, light and dark."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import Page, expect

from tests.browser.corpus import MANY, PHOTOS
from tests.browser.pages import PHONE, WIDE, open_changed, refuse_a_search
from tests.browser.scan import findings
from tests.waiting import HANGS_S

SMALLEST = (320, 640)


def is_fine(page: Page) -> None:
    """In all its forms: no finding, and nothing to scroll sideways."""
    for size, scheme in ((WIDE, "light"), (WIDE, "dark"), (PHONE, "light")):  # no width changes a colour
        page.set_viewport_size({"width": size[0], "height": size[1]})
        page.emulate_media(color_scheme=scheme)
        assert findings(page) == [], (size, scheme)
    page.set_viewport_size({"width": SMALLEST[0], "height": SMALLEST[1]})
    assert page.evaluate("document.documentElement.scrollWidth") <= SMALLEST[0]


def opened(page: Page) -> None:
    page.locator("[data-id] .open").first.click()
    expect(page.get_by_role("dialog").locator("img")).to_be_visible()


def classified(page: Page) -> None:
    page.locator("[data-id] .open").first.click()
    page.get_by_role("dialog").get_by_role("button", name="Classify").click()
    page.locator(".probabilities").wait_for()


def refused(page: Page) -> None:
    refuse_a_search(page, 30)
    page.get_by_role("alert").wait_for()


def unfiltered(page: Page) -> None:
    page.watch.expected.append("status of 400")  # type: ignore[attr-defined]
    page.get_by_text("The filter does not fit this collection").wait_for()
    page.locator("#view-compare .filters > summary").click()


VIEWS = {
    "start": ("/", lambda page: None),
    "results": (
        f"/?collection={PHOTOS}&q=a+cat&like=coffee.png&w=-0.5&filter=kind%3D%22png%22",
        lambda page: page.locator("[data-id]").first.wait_for(),
    ),
    "nothing": (
        f"/?collection={PHOTOS}&q=nothing&filter=kind%3D%22none%22",
        lambda page: page.get_by_text("Nothing found").first.wait_for(),
    ),
    "dialog": (f"/?collection={PHOTOS}&q=a+cat", opened),
    "classified": (f"/?collection={PHOTOS}&q=a+cat", classified),
    "refused": (f"/?collection={PHOTOS}", refused),
    "compare": (
        f"/?view=compare&collection={PHOTOS}&right=words-and-photographs&q=a+cat",
        lambda page: page.locator(".share").wait_for(),
    ),
    "unfiltered": (
        f"/?view=compare&collection={PHOTOS}&right={MANY}&q=a+cat&filter=kind%3D%22png%22",
        unfiltered,
    ),
    "classify": ("/?view=classify", lambda page: None),
    "map": ("/?view=map", lambda page: page.locator("iframe").wait_for()),
}


@pytest.mark.parametrize("view", VIEWS)
def test_views(visit, view):
    address, then = VIEWS[view]
    page = visit(address)
    then(page)
    is_fine(page)


def without_services(state):
    for service in ("search", "encoder"):
        state["sides"]["a"][service].update(
            ok=False, reason="CONNECTION_REFUSED", message="the service cannot be reached"
        )
    state["sides"]["a"].update(collections=[])


def without_collections(state):
    state["sides"]["a"]["collections"] = []
    state["maps"] = []


def without_token(state):
    state["token_needed"] = True


@pytest.mark.parametrize(
    ("address", "change", "shown"),
    [
        ("/", without_services, "The search service is not available"),
        ("/", without_collections, "No collection yet"),
        ("/?view=map", without_collections, "No map yet"),
        ("/", without_token, "Sign in"),
    ],
    ids=["down", "empty", "no map", "sign in"],
)
def test_states(open_page, stage, address, change, shown):
    page = open_changed(open_page, stage.url + address, change)
    expect(page.get_by_role("heading", name=shown)).to_be_visible()
    is_fine(page)


def test_the_page_waits_with_skeletons_and_keeps_what_it_had(visit):
    page = visit(f"/?collection={PHOTOS}")
    held = []
    page.route("**/api/search", lambda route: held.append(route))

    def let_it_through():
        end = time.monotonic() + HANGS_S
        while not held:  # the page may be seen to wait before its request is seen
            assert time.monotonic() < end
            page.wait_for_timeout(10)
        held.pop().continue_()

    page.get_by_label("Words to search by").fill("a cat")
    page.keyboard.press("Enter")
    expect(page.locator(".skeleton").first).to_be_visible()
    is_fine(page)
    let_it_through()
    page.locator("[data-id]").first.wait_for()
    page.get_by_label("Words to search by").fill("a dog")
    page.keyboard.press("Enter")
    expect(page.locator("[aria-busy=true] [data-id]").first).to_be_visible()
    let_it_through()
    expect(page.locator(".found")).to_have_text("a dog")
