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
        fixed = [
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", path),
            (b":authority", b"localhost"),
        ]
        self._client.send_headers(
            1, [*fixed, (b"content-type", b"application/grpc"), (b"te", b"trailers"), *headers]
        )
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
