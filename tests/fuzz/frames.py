"""Hostile connections: HTTP/2 requests that no gRPC library would send, and bytes that are no HTTP/2 at all.

What gRPC's core answers to a broken header is its own affair; the service must live and serve others.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import StreamEnded, StreamReset

from tests.fuzz.rpcs import ENCODER, SEARCH, methods, path

# A call that waits for the rest of its request is left in the middle.
ANSWER_WITHIN_S = 0.3
_TEXT = [
    b"",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\0",
    b"a" * 9000,
    b"\r\nx: y",
    b"-1",
    b"../../..",
    b"\xf0\x9f\x98\x80",
    b" ",
]
_NAMES = [
    b"authorization", b"x-request-id", b"traceparent", b"user-agent", b"te", b"content-type", b"grpc-timeout",
    b"grpc-encoding", b"grpc-accept-encoding", b"grpc-tags-bin", b"host", b"content-length",
    b"connection", b"cookie",
]  # fmt: skip
_VALUES = [
    *_TEXT, b"Bearer x", b"Bearer \xff", b"99999999H", b"0n", b"1n", b"-5S", b"1S", b"gzip", b"identity",
    b"application/grpc+json",
    b"00-" + b"f" * 32 + b"-" + b"f" * 16 + b"-01", b"application/json", b"18446744073709551616",
]  # fmt: skip
_BODIES = [
    b"\0\0\0\0\0", b"", b"\0", b"\1\0\0\0\2ab", b"\7\0\0\0\2ab", b"\0\0\0\0\x09ab",
    b"\0\xff\xff\xff\xffab", b"\0\0\0\0\0" * 50,
]  # fmt: skip
_PATHS = [
    b"",
    b"/",
    b"noslash",
    b"/a/b",
    b"//",
    b"/\xff\xfe",
    b"/grpc.health.v1.Health/\xed\xa0\x80",
    b"/" + b"a" * 9000,
]
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_SETTINGS = b"\0\0\0\4\0\0\0\0\0"
_EVERY = [path(method).encode() for process in (ENCODER, SEARCH) for method in methods(process)]


def hostile_bytes(rng: random.Random) -> bytes:
    """What one connection sends."""
    return rng.choice(_KINDS)(rng)


async def strike(address: str, data: bytes) -> None:
    """Sends `data` on a connection of its own and hears the answer, if one comes; never waits for long."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(data)
        async with asyncio.timeout(ANSWER_WITHIN_S):
            await _hear(reader)
    except (ConnectionError, TimeoutError):
        pass
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError, TimeoutError):
            await asyncio.wait_for(writer.wait_closed(), 1)


async def _hear(reader: asyncio.StreamReader) -> None:
    """Reads until the call or the connection has ended."""
    client = H2Connection(H2Configuration(client_side=True, header_encoding=None))
    client.initiate_connection()
    client.send_headers(
        1, [(b":method", b"POST"), (b":path", b"/"), (b":scheme", b"http"), (b":authority", b"x")]
    )
    while data := await reader.read(65536):
        try:
            events = client.receive_data(data)
        except Exception:  # the answer to what was no HTTP/2 may be none either
            return
        if any(isinstance(event, (StreamReset, StreamEnded)) for event in events):
            return


def _request(rng: random.Random) -> bytes:
    headers = {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": rng.choice(_EVERY),
        b":authority": b"localhost",
        b"content-type": b"application/grpc",
        b"te": b"trailers",
    }
    for _ in range(rng.randint(1, 3)):
        match rng.randrange(4):
            case 0:
                headers[b":path"] = rng.choice([*_PATHS, rng.choice(_EVERY)[:-1] + rng.choice(_TEXT)])
            case 1:
                headers[rng.choice([b":method", b":scheme", b":authority"])] = rng.choice(_TEXT)
            case _:
                headers[rng.choice(_NAMES)] = rng.choice(_VALUES)
    pairs = list(headers.items())
    if rng.random() < 0.1:
        pairs += pairs[-2:] * rng.choice([1, 50])
    client = H2Connection(
        H2Configuration(client_side=True, validate_outbound_headers=False, normalize_outbound_headers=False)
    )
    client.initiate_connection()
    client.send_headers(1, pairs)
    with contextlib.suppress(Exception):
        client.send_data(1, rng.choice(_BODIES), end_stream=rng.random() < 0.8)
    return client.data_to_send()


def _damaged_request(rng: random.Random) -> bytes:
    data = bytearray(_request(rng))
    for _ in range(rng.randint(1, 6)):
        data[rng.randrange(len(_PREFACE), len(data))] = rng.randrange(256)
    return bytes(data)


def _frames(rng: random.Random) -> bytes:
    """Frames of any type, flags, stream and length, the true length or not."""
    out = _PREFACE + _SETTINGS
    for _ in range(rng.randint(1, 12)):
        body = rng.randbytes(rng.choice([0, 4, 5, 8, 100]))
        length = len(body) if rng.random() < 0.8 else rng.choice([0, 2**14 + 1, 2**24 - 1])
        stream = rng.choice([0, 1, 2, 3, 2**31 - 1])
        out += (
            length.to_bytes(3, "big")
            + bytes([rng.randrange(12), rng.randrange(256)])
            + stream.to_bytes(4, "big")
        )
        out += body
    return out


def _noise(rng: random.Random) -> bytes:
    return rng.choice(
        [
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"\x16\x03\x01\x02\0\1\0\1\xfc\3\3",
            _PREFACE[:10],
            b"\0" * 100,
        ]
    ) + (rng.randbytes(rng.choice([0, 50, 4000])))


def _many_streams(rng: random.Random) -> bytes:
    """Hundreds of calls that begin and are reset at once."""
    client = H2Connection(H2Configuration(client_side=True, validate_outbound_headers=False))
    client.initiate_connection()
    for number in range(rng.choice([10, 90])):
        stream = 1 + 2 * number
        client.send_headers(
            stream, [(b":method", b"POST"), (b":scheme", b"http"), (b":path", rng.choice(_EVERY))]
        )
        if rng.random() < 0.8:
            client.reset_stream(stream)
    return client.data_to_send()


_KINDS: list[Callable[[random.Random], bytes]] = [
    _request, _request, _request, _request, _damaged_request, _frames, _noise, _many_streams
]  # fmt: skip
