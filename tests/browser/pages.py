"""Opens pages, and holds each of them to what watched.py asks of every page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, BrowserContext, Page

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
