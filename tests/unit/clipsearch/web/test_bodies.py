"""Bodies of requests, within bounds of size, time and number."""

from __future__ import annotations

import asyncio

import pytest
from starlette.requests import Request

from clipsearch.web.bodies import MAX_BODY, MAX_MARKS, Bodies
from clipsearch.web.errors import WebError


def request(*parts: bytes, length: int | str | None = None, wait_s: float = 0) -> Request:
    """A request whose body comes in parts, with `wait_s` before each."""
    left = list(parts)

    async def receive():
        await asyncio.sleep(wait_s)
        part = left.pop(0) if left else b""
        return {"type": "http.request", "body": part, "more_body": bool(left)}

    size = sum(map(len, parts)) if length is None else length
    headers = [] if size == "" else [(b"content-length", str(size).encode())]
    return Request({"type": "http", "method": "POST", "headers": headers}, receive)


async def refusal(bodies: Bodies, asked: Request) -> WebError:
    with pytest.raises(WebError) as raised:
        async with bodies.read(asked):
            pass
    return raised.value


@pytest.mark.parametrize("length", ["", "-1", "1e3", "٣"])
async def test_a_body_says_its_length(length):
    assert (await refusal(Bodies(), request(b"{}", length=length))).status == 411


async def test_a_body_that_is_too_long_is_not_read():
    async def receive():
        raise AssertionError("read")

    headers = [(b"content-length", str(MAX_BODY + 1).encode())]
    error = await refusal(Bodies(), Request({"type": "http", "method": "POST", "headers": headers}, receive))
    assert (error.status, error.reason) == (413, "BODY_TOO_LARGE")
    assert str(MAX_BODY) in error.message


async def test_a_body_longer_than_it_said_is_refused():
    assert (await refusal(Bodies(), request(b"12345", length=3))).status == 400


async def test_a_slow_browser_is_not_waited_for():
    slow = request(b"a", b"b", b"c", wait_s=0.06)
    assert (await refusal(Bodies(read_s=0.1), slow)).status == 408


async def test_only_so_much_is_held_at_once_and_it_is_given_back():
    bodies = Bodies(max_held=10)
    async with bodies.read(request(b"123456")):
        error = await refusal(bodies, request(b"12345"))
        assert (error.status, error.retry_after) == (503, 1.0)
        async with bodies.read(request(b"1234")):
            pass
    await refusal(bodies, request(b"12345", length=3))
    async with bodies.read(request(b"1234567890")):
        pass


@pytest.mark.parametrize("mark", [b"0,", b"[", b'{"":'])
async def test_many_small_values_would_fill_the_memory(mark):
    assert (await refusal(Bodies(), request(mark * (MAX_MARKS + 1)))).status == 413


async def test_a_picture_is_no_such_thing():
    async with Bodies().read(request(b'{"image":"' + b"A/+=" * 200_000 + b'"}')) as body:
        assert len(body) == 800_012
