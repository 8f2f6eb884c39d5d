"""Calls as raw HTTP/2, for what no gRPC client would send."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ResponseReceived, StreamEnded, StreamReset, TrailersReceived
from h2.settings import SettingCodes, Settings

EMPTY_MESSAGE = b"\0\0\0\0\0"


class RawCall:
    """One call on a connection of its own: `path`, further `headers`, and `body` with or without its end."""

    def __init__(
        self,
        path: bytes,
        *headers: tuple[bytes, bytes],
        body: bytes = EMPTY_MESSAGE,
        end: bool = True,
        window: int | None = None,
    ) -> None:
        self._client = H2Connection(
            H2Configuration(client_side=True, header_encoding=None, validate_outbound_headers=False)
        )
        if window is not None:
            self._client.local_settings = Settings(
                client=True, initial_values={SettingCodes.INITIAL_WINDOW_SIZE: window}
            )
        self._client.initiate_connection()
        self._client.send_headers(1, [*_headers(path), *headers])
        self._client.send_data(1, body, end_stream=end)
        self._writer: asyncio.StreamWriter | None = None

    async def send(self, address: str) -> RawCall:
        host, _, port = address.rpartition(":")
        self._reader, self._writer = await asyncio.open_connection(host, int(port))
        self._writer.write(self._client.data_to_send())
        return self

    async def answer(self, within_s: float = 60.0) -> Mapping[str, str]:
        """The answer's headers and trailers; raises TimeoutError if the call does not end in time."""
        found: dict[str, str] = {}
        async with asyncio.timeout(within_s):
            while data := await self._reader.read(65536):
                for event in self._client.receive_data(data):
                    if isinstance(event, (ResponseReceived, TrailersReceived)):
                        found |= {key.decode(): value.decode("latin-1") for key, value in event.headers}
                    if isinstance(event, (StreamEnded, StreamReset)):
                        return found
                assert self._writer is not None
                self._writer.write(self._client.data_to_send())
        return found

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


async def status(address: str, path: bytes, *headers: tuple[bytes, bytes], **options: object) -> int:
    """The grpc-status of a raw call."""
    call = await RawCall(path, *headers, **options).send(address)
    try:
        return int((await call.answer())["grpc-status"])
    finally:
        call.close()


class Unfinished:
    """Calls on one connection whose messages say that they have `declared` bytes, and never end.

    Each sends as much as the server lets it, up to `size` bytes.
    """

    def __init__(self, path: bytes, calls: int, declared: int, size: int) -> None:
        self._client = H2Connection(H2Configuration(client_side=True, header_encoding=None))
        self._client.initiate_connection()
        self._left: dict[int, int] = {}
        self.sent: dict[int, int] = {}
        self.answers: dict[int, dict[str, str]] = {}
        for number in range(calls):
            stream = 2 * number + 1
            self._client.send_headers(stream, _headers(path))
            self._client.send_data(stream, b"\0" + declared.to_bytes(4, "big"))
            self._left[stream], self.sent[stream] = size, 0

    async def run(self, address: str) -> None:
        """Sends until it is cancelled or the connection ends."""
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            while True:
                self._send()
                writer.write(self._client.data_to_send())
                await writer.drain()
                data = await reader.read(65536)
                if not data:
                    return
                self._note(data)
        finally:
            writer.close()

    def _send(self) -> None:
        """All that the server lets them, in turn."""
        sent = True
        while sent:
            sent = False
            for stream, left in self._left.items():
                count = min(left, 16384, self._client.local_flow_control_window(stream))
                if count > 0:
                    self._client.send_data(stream, bytes(count))
                    self._left[stream] -= count
                    self.sent[stream] += count
                    sent = True

    def _note(self, data: bytes) -> None:
        for event in self._client.receive_data(data):
            if isinstance(event, (ResponseReceived, TrailersReceived)):
                told = {key.decode(): value.decode("latin-1") for key, value in event.headers}
                self.answers.setdefault(event.stream_id, {}).update(told)
            if isinstance(event, (StreamEnded, StreamReset)):
                self._left.pop(event.stream_id, None)


def _headers(path: bytes) -> list[tuple[bytes, bytes]]:
    """What every call begins with."""
    return [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path),
        (b":authority", b"localhost"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
    ]
