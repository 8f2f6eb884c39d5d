"""Accessibility by axe-core: what it finds in a page, as lines."""

from __future__ import annotations

from typing import Any

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page

# The frame of a map is a page of its own and scanned as such.
_OPTIONS: dict[str, Any] = {"iframes": False, "resultTypes": ["violations"]}


def findings(page: Page) -> list[str]:
    """Every violation, whatever its impact."""
    if not page.evaluate("'axe' in window"):  # a page that is scanned again has the half megabyte already
        page.evaluate(AXE_SCRIPT)
    violations = page.evaluate("async (options) => (await axe.run(options)).violations", _OPTIONS)
    return [
        f"{found['impact']} {found['id']}: {node['target']} {node['failureSummary']}"
        for found in violations
        for node in found["nodes"]
    ]
