"""Messages on their way out: those of one turn of the event loop leave in one write."""

from __future__ import annotations

import asyncio

from encoder_service.frontends.wire import Message, frame


class Outbox:
    """The writing side of a connection. What is put into one that is closed is lost, as its reader is."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._frames: list[bytes] = []

    def put(self, message: Message) -> None:
        """Sends the message soon."""
        if not self._frames:
            asyncio.get_running_loop().call_soon(self._flush)
        self._frames.append(frame(message))

    def _flush(self) -> None:
        frames, self._frames = self._frames, []
        if not self._transport.is_closing():
            self._transport.write(b"".join(frames))
