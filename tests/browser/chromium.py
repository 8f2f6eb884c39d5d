"""Where the system's Chromium is. Playwright's own browsers are not used: CI cannot download them."""

from __future__ import annotations

import shutil

# The headless shell first: it draws no window and takes a third of the CPU time.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


def chromium_path() -> str | None:
    """The first of NAMES that is installed."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)
