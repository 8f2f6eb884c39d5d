"""Opens pages, holds each of them to what watched.py asks of every page, and has servers tell them things."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, Route

from tests.browser.watched import Watch

WIDE, PHONE = (1280, 900), (390, 844)
PATIENCE_MS = 60_000  # for hangs alone

OpenPage = Callable[..., Page]


@contextmanager
def pages(browser: Browser) -> Iterator[OpenPage]:
    """Opens addresses, each in a new context; at the end every page must have behaved (see watched.py)."""
    opened: list[tuple[BrowserContext, Watch]] = []

    def new(url: str, size: tuple[int, int] = WIDE, scheme: str = "light", zone: str = "UTC") -> Page:
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme=scheme,
            reduced_motion="reduce",
            timezone_id=zone,
        )
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        watch = Watch(page, url)
        page.watch = watch  # type: ignore[attr-defined]
        opened.append((context, watch))
        page.goto(url)
        return page

    yield new
    for context, _ in opened:
        context.close()
    for _, watch in opened:
        watch.check()


def open_changed(open_page: OpenPage, url: str, change: Callable[[dict[str, Any]], None]) -> Page:
    """Opens a page that its server tells another state, which `change` makes of the real one."""

    def changed(route: Route) -> None:
        state = route.fetch().json()
        change(state)
        route.fulfill(json=state)

    page = open_page("about:blank")
    page.watch.expected.append("request to elsewhere: ")  # type: ignore[attr-defined]  # it has no origin
    page.route("**/api/state*", changed)
    page.goto(url)
    return page


def stop_clock(page: Page) -> None:
    """From now on time passes on the page only by `page.clock`: what counts seconds waits for the test."""
    page.clock.install()
    page.clock.pause_at(page.evaluate("Date.now()") / 1000 + 3600)  # later than now, however busy the machine


def refuse_a_search(
    page: Page,
    retry_after_s: float,
    *,
    times: int | None = None,
    status: int = 429,
    reason: str = "RATE_LIMITED",
    message: str = "more calls than you may make",
    service: str | None = "search",
) -> None:
    """Searches for a cat and has that refused: each time, or so many `times`."""
    page.watch.expected.append(f"status of {status}")  # type: ignore[attr-defined]
    error = {
        "reason": reason,
        "message": message,
        "field": None,
        "side": "a",
        "service": service,
        "retry_after_s": retry_after_s,
    }
    page.route(
        "**/api/search", lambda route: route.fulfill(status=status, json={"error": error}), times=times
    )
    page.get_by_label("Words to search by").fill("a cat")
    page.keyboard.press("Enter")
