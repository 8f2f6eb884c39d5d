"""Work ends with the browser's wish for it."""

from __future__ import annotations

import asyncio

import pytest
from starlette.requests import Request

from clipsearch.web.parts import Gone, while_wanted


def request(leave: asyncio.Event) -> Request:
    """A request whose browser stays until told to leave."""
    messages = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive():
        if messages:
            return messages.pop()
        await leave.wait()
        return {"type": "http.disconnect"}

    return Request({"type": "http", "method": "GET", "headers": []}, receive)


@pytest.mark.parametrize("end", ["leaves", "is cancelled"])
async def test_work_is_cancelled_when_the_browser(end):
    cancelled, leave = asyncio.Event(), asyncio.Event()

    async def work():
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    asking = asyncio.create_task(while_wanted(request(leave), work()))
    await asyncio.sleep(0.01)
    if end == "leaves":
        leave.set()
    else:
        asking.cancel()
    with pytest.raises(Gone if end == "leaves" else asyncio.CancelledError):
        await asking
    assert cancelled.is_set()
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == 1
