"""Whatever is sent arrives, however it is cut to pieces; what is no message is told from one."""

from __future__ import annotations

import contextlib
import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoder_service.frontends.wire import (
    MAX_BODY_BYTES,
    Answer,
    Cancel,
    Failure,
    Frames,
    Message,
    Picture,
    Ping,
    Pong,
    Refused,
    Scrape,
    Serving,
    Snapshot,
    Stop,
    Text,
    TextAnswer,
    Welcome,
    WireError,
    frame,
)

ids = st.integers(0, 2**64 - 1)
small = st.integers(0, 2**32 - 1)
seconds = st.floats(allow_nan=False)
words = st.text(st.characters(exclude_categories=["Cs"]))
vectors = st.lists(st.floats(allow_nan=False, width=32), max_size=8).map(lambda v: np.array(v, np.float32))

messages = st.one_of(
    st.builds(Picture, ids, small, small, seconds),
    st.builds(Text, ids, small, seconds, st.lists(st.integers(-(2**31), 2**31 - 1)).map(tuple)),
    st.builds(Cancel, ids),
    st.builds(Ping, ids),
    st.builds(Serving),
    st.builds(Refused, words),
    st.builds(Snapshot, ids, words),
    st.builds(Welcome, words),
    st.builds(Answer, ids, seconds, seconds),
    st.builds(TextAnswer, ids, seconds, seconds, vectors),
    st.builds(
        Failure.of, ids, st.sampled_from(["late", "unavailable", "failed"]), words.map(lambda w: w[:500])
    ),
    st.builds(Pong, ids),
    st.builds(Scrape, ids),
    st.builds(Stop, st.booleans()),
)


def plain(message: Message) -> tuple[Any, ...]:
    return (
        type(message),
        *(part.tolist() if isinstance(part, np.ndarray) else part for part in message),
    )


@given(st.lists(messages, max_size=6), st.lists(st.integers(0, 400), max_size=12))
def test_messages_arrive_whole_and_in_order_however_they_are_cut(
    sent: list[Message], cuts: list[int]
) -> None:
    stream = b"".join(map(frame, sent))
    edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    frames = Frames()
    pieces = [stream[begin:end] for begin, end in itertools.pairwise(edges)]
    received = [message for piece in pieces for message in frames.feed(piece)]
    assert list(map(plain, received)) == list(map(plain, sent))


@given(st.binary(max_size=300))
def test_any_bytes_are_messages_or_a_wire_error(data: bytes) -> None:
    with contextlib.suppress(WireError):
        Frames().feed(data)


@pytest.mark.parametrize(
    "data",
    [
        (9).to_bytes(4, "little") + b"\xc8" + bytes(9),
        (MAX_BODY_BYTES + 1).to_bytes(4, "little") + b"\x00",
        (7).to_bytes(4, "little") + frame(Cancel(1))[4:5] + bytes(7),
        (9).to_bytes(4, "little") + frame(Cancel(1))[4:5] + bytes(9),
        (23).to_bytes(4, "little") + frame(Text(1, 0, 1.0, ()))[4:5] + bytes(23),
        (2).to_bytes(4, "little") + frame(Refused(""))[4:5] + b"\xff\xff",
    ],
    ids=["unknown kind", "too long", "too short", "longer than its kind", "half a number", "no UTF-8"],
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        Frames().feed(data)


def test_a_long_reason_is_cut_and_an_unknown_kind_of_failure_is_one() -> None:
    assert len(Failure.of(1, "failed", "x" * 10_000).message) == 500
    assert Failure(1, 77, "").name == "failed"
