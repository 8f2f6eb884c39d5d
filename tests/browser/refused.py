"""A search service that refuses a search, as its server tells the page."""

from __future__ import annotations

from playwright.sync_api import Page


def refuse_a_search(
    page: Page,
    retry_after_s: float,
    *,
    times: int | None = None,
    status: int = 429,
    reason: str = "RATE_LIMITED",
    message: str = "more calls than you may make",
) -> None:
    """Searches for a cat and has that refused: each time, or so many `times`."""
    page.watch.expected.append(f"status of {status}")  # type: ignore[attr-defined]
    error = {
        "reason": reason,
        "message": message,
        "field": None,
        "side": "a",
        "service": "search",
        "retry_after_s": retry_after_s,
    }
    page.route(
        "**/api/search", lambda route: route.fulfill(status=status, json={"error": error}), times=times
    )
    page.get_by_label("Words to search by").fill("a cat")
    page.keyboard.press("Enter")
