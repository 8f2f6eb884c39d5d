"""Accessibility by axe-core: what it finds in a page, as lines."""

from __future__ import annotations

from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

# The frame of a map is a page of its own and scanned as such.
_OPTIONS: dict[str, Any] = {"iframes": False, "resultTypes": ["violations"]}


def findings(page: Page, only: str | None = None) -> list[str]:
    """Every violation, whatever its impact; `only` = a single rule."""
    options = {**_OPTIONS, "runOnly": {"type": "rule", "values": [only]}} if only else _OPTIONS
    response = Axe().run(page, options=options).response
    return [
        f"{found['impact']} {found['id']}: {node['target']} {node['failureSummary']}"
        for found in response["violations"]
        for node in found["nodes"]
    ]
