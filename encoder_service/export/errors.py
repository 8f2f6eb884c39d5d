"""What goes wrong in making a bundle."""

from __future__ import annotations


class ExportError(Exception):
    """The bundle cannot be made or checked; the message says what to do about it."""
