"""Reads the bodies of requests within bounds: of size, of time, and of all that are held at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

from clipsearch.web.errors import WebError

MAX_BODY = 32 * 1024 * 1024
MAX_HELD = 4 * MAX_BODY
READ_S = 30.0

# A number in an array is 2 bytes as JSON and 32 in memory, so the marks between values are counted
# before they are read. Images hold none: base64 has neither comma nor bracket.
MAX_MARKS = 20_000
_MARKS = (b",", b"[", b"{")


class Bodies:
    """Hands out bodies; `max_held` bytes of them at most are in memory."""

    def __init__(self, max_held: int = MAX_HELD, read_s: float = READ_S) -> None:
        self._free = max_held
        self._read_s = read_s

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytearray]:
        """The body of a request, counted as held while the block runs.

        Raises WebError: 411 without a length, 413 past the limit, 408 if it comes too slowly,
        503 if too much is held already. ClientDisconnect if the browser goes.
        """
        length = _length(request)
        if length > self._free:
            raise WebError(503, "TOO_MANY_UPLOADS", "too much is being uploaded; try again", retry_after=1.0)
        self._free -= length
        try:
            yield await self._whole(request, length)
        finally:
            self._free += length

    async def _whole(self, request: Request, length: int) -> bytearray:
        body, marks = bytearray(), 0
        try:
            async with asyncio.timeout(self._read_s):
                async for part in request.stream():
                    if len(body) + len(part) > length:
                        raise WebError(400, "BODY_TOO_LONG", "the body is longer than its Content-Length")
                    # Part by part: to count the marks of 32 MiB at once would hold up the loop for 60 ms,
                    # and to join the parts at the end for 35 ms.
                    marks += sum(part.count(mark) for mark in _MARKS)
                    if marks > MAX_MARKS:
                        raise WebError(
                            413, "BODY_TOO_LARGE", f"the request holds more than {MAX_MARKS} values"
                        )
                    body += part
        except TimeoutError:
            raise WebError(
                408, "BODY_TOO_SLOW", f"the request did not arrive within {self._read_s:g} seconds"
            ) from None
        return body


def _length(request: Request) -> int:
    given = request.headers.get("content-length", "")
    if not (given.isascii() and given.isdigit()):
        raise WebError(411, "LENGTH_REQUIRED", "the request must say its Content-Length")
    length = int(given[:12])
    if length > MAX_BODY:
        raise WebError(
            413,
            "BODY_TOO_LARGE",
            f"the request has {length} bytes, the limit is {MAX_BODY} ({MAX_BODY // 1024**2} MiB)",
        )
    return length
