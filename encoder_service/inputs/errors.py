"""Why one input cannot be encoded. The services turn it into a status; offline tools show it as it is."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePath


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


def too_much(reason: str, message: str, value: float, limit: float) -> InputError:
    """An input that is over a limit."""
    return InputError(reason, message, {"value": str(value), "limit": str(limit)})


def damaged() -> InputError:
    """A file whose header makes no sense."""
    return InputError("IMAGE_INVALID", "the header is damaged or cut off")


def truncated() -> InputError:
    """A file that ends too early."""
    return InputError("IMAGE_TRUNCATED", "the data ends before the image does")


@contextmanager
def faults_of_the_file() -> Iterator[None]:
    """What the decoding library raises about a file becomes the refusal of the file.

    Its plugins raise whatever they stumble over, so what counts is where: in the library, or here. An
    OSError with a number is the machine's, whoever met it; so is memory that ran out.
    """
    try:
        yield
    except (InputError, MemoryError, ImportError):
        raise
    except Exception as error:
        if "out of memory" in str(error).lower():
            raise MemoryError(str(error)) from error
        if (isinstance(error, OSError) and error.errno is not None) or not _raised_in_library(error):
            raise
        raise _broken(error) from None


def _raised_in_library(error: Exception) -> bool:
    *_, (frame, _line) = traceback.walk_tb(error.__traceback__)
    return bool({"PIL", "pillow_heif"} & set(PurePath(frame.f_code.co_filename).parts))


def _broken(error: Exception) -> InputError:
    if isinstance(error, EOFError) or "truncated" in str(error).lower():
        return truncated()
    if isinstance(error, SyntaxError):  # raised while a header is read
        return InputError("IMAGE_INVALID", "the header is damaged, or of a variant that is not read")
    return InputError("IMAGE_INVALID", "the data is damaged and cannot be decoded")
