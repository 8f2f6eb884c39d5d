"""Why one input cannot be encoded. The services turn it into a status; offline tools show it as it is."""

from __future__ import annotations

from collections.abc import Mapping


class InputError(Exception):
    """An input that is wrong whatever the state of the program.

    `reason` is stable and one of the documented ones (IMAGE_INVALID, TEXT_EMPTY, ...); `metadata` has the
    facts by name, where there is a limit: `value` and `limit`.
    """

    def __init__(self, reason: str, message: str, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata or {})


def damaged() -> InputError:
    """A file whose header makes no sense."""
    return InputError("IMAGE_INVALID", "the header is damaged or cut off")


def truncated() -> InputError:
    """A file that ends too early."""
    return InputError("IMAGE_TRUNCATED", "the data ends before the image does")
