"""A service that is gone: the page says which, what to do, and goes on once it is back."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.corpus import PHOTOS
from tests.browser.pages import refuse_a_search, stop_clock


def test_the_encoder_goes_and_comes_back(visit, stage):
    page = visit(f"/?collection={PHOTOS}&q=a+cat")
    page.watch.expected += ["status of 503", "status of 504"]
    first = page.locator("[data-id]").first
    expect(first).to_have_attribute("data-id", "chelsea.png")
    port = stage.encoder.port
    stage.encoder.stop()
    try:
        page.get_by_label("Words to search by").fill("a rocket, high up")
        page.keyboard.press("Enter")
        told = page.get_by_role("alert").filter(has_text="The encoder service is not available")
        expect(told).to_be_visible(timeout=60_000)
        expect(told).to_contain_text(
            "cannot be reached: nothing listens at its address. Reason: CONNECTION_REFUSED", timeout=60_000
        )
        expect(told).to_contain_text("clipsearch serve encoder")
        expect(page.locator(".state")).to_have_text("encoder down")
        page.goto(f"{stage.url}/?collection={PHOTOS}&like=rocket.jpg")  # needs no encoder
        expect(first).to_be_visible()
        expect(page.get_by_text("by another model")).to_have_count(0)
        page.goto(f"{stage.url}/?collection={PHOTOS}&q=a+rocket,+high+up&target=image")
        expect(page.locator(".found")).to_have_text("No results", timeout=60_000)
    finally:
        stage.encoder.start(port)
    expect(first).to_have_attribute("data-id", "rocket.jpg", timeout=60_000)  # by itself
    expect(page.locator(".state")).to_have_text("ready")
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_busy_service_says_when_to_try_again(visit):
    page = visit(f"/?collection={PHOTOS}")
    stop_clock(page)
    refuse_a_search(page, 0.7, times=1)
    expect(page.get_by_role("alert")).to_contain_text("It can be tried again in 1 s")
    again = page.get_by_role("button", name="Try again")
    expect(again).to_be_disabled()
    page.clock.run_for(1_000)
    again.click()
    expect(page.locator("[data-id]").first).to_have_attribute("data-id", "chelsea.png")


@pytest.mark.parametrize(("reason", "starts"), [("STORE_UNAVAILABLE", 0), ("CONNECTION_REFUSED", 1)])
def test_a_service_that_is_away_is_not_called_busy(visit, reason, starts):
    page = visit(f"/?collection={PHOTOS}")
    away = {"status": 503, "reason": reason, "message": "the store cannot be reached"}
    refuse_a_search(page, 0.7, **away)
    told = page.get_by_role("alert")
    expect(told.get_by_role("heading")).to_have_text("The search service is not available")
    expect(told).to_contain_text("The store cannot be reached")
    expect(told.get_by_text("clipsearch serve search", exact=True)).to_have_count(starts)
    expect(told.get_by_role("button", name="Try again")).to_be_visible()
    page.unroute("**/api/search")
    # By itself, although the page never saw it down.
    expect(page.locator("[data-id]").first).to_have_attribute("data-id", "chelsea.png", timeout=60_000)
    expect(told).to_have_count(0)


def test_a_service_that_says_when_it_is_back_is_not_asked_before(visit):
    page = visit(f"/?collection={PHOTOS}")
    stop_clock(page)
    refuse_a_search(page, 60, status=503, reason="STORE_UNAVAILABLE", times=1)
    told = page.get_by_role("alert")
    expect(told).to_contain_text("It can be tried again in 60 s")
    page.clock.run_for(50_000)
    expect(told).to_contain_text("It can be tried again in 10 s")
    page.clock.run_for(11_000)
    expect(page.locator("[data-id]").first).to_have_attribute("data-id", "chelsea.png")  # by itself


def test_what_is_too_much_at_once_is_left_to_the_reader(visit):
    page = visit(f"/?collection={PHOTOS}")
    stop_clock(page)
    refuse_a_search(page, 1, status=503, reason="TOO_MANY_UPLOADS", service=None, times=1)
    told = page.get_by_role("alert")
    expect(told.get_by_role("heading")).to_have_text("Too much at once")
    page.clock.run_for(60_000)
    told.get_by_role("button", name="Try again").click()
    expect(page.locator("[data-id]").first).to_have_attribute("data-id", "chelsea.png")


def test_the_pages_own_server_is_gone(visit):
    page = visit(f"/?collection={PHOTOS}")
    page.watch.expected.append("ERR_FAILED")
    page.route("**/api/**", lambda route: route.abort())
    page.get_by_label("Words to search by").fill("a cat")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("clipsearch web")
    page.unroute("**/api/**")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("[data-id]").first).to_have_attribute("data-id", "chelsea.png")
