"""What front ends and the session process say to each other over a socket, and how it is framed.

A front end reads what strangers send, so nothing that comes from one is trusted: no pickle, every
length and number is checked, and a message that is not well formed ends the connection.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

# A snapshot of metrics is the longest message: some 100 KB.
MAX_BODY_BYTES = 16 * 1024 * 1024

FailureKind = Literal["late", "unavailable", "failed"]
_KINDS: tuple[FailureKind, ...] = get_args(FailureKind)
_LONGEST_REASON = 500


class WireError(Exception):
    """The other side sent something that is no message."""


class Picture(NamedTuple):
    """From a front end: the pixels in slot `slot` are to be encoded until `deadline` (time.monotonic())."""

    id: int
    slot: int
    ahead: int
    deadline: float


class Text(NamedTuple):
    """From a front end: a text's ids, not padded."""

    id: int
    ahead: int
    deadline: float
    ids: tuple[int, ...]


class Cancel(NamedTuple):
    """From a front end: nobody waits for the answer any more."""

    id: int


class Ping(NamedTuple):
    """From a front end: it listens, and asks whether it may say that it is ready: Pong, or a Failure."""

    id: int


class Serving(NamedTuple):
    """From a front end: its health says SERVING."""


class Refused(NamedTuple):
    """From a front end: it cannot start, for one line for the operator."""

    message: str


class Snapshot(NamedTuple):
    """From a front end: its metrics, as JSON."""

    id: int
    metrics: str


class Welcome(NamedTuple):
    """To a front end: what it needs to know to start, as JSON."""

    facts: str


class Answer(NamedTuple):
    """To a front end: a picture's vector is in its slot; the seconds it waited and those of its batch."""

    id: int
    queue_s: float
    infer_s: float


class TextAnswer(NamedTuple):
    """To a front end: a text's vector, float32 [dimension], and the same."""

    id: int
    queue_s: float
    infer_s: float
    vector: NDArray[np.float32]


class Failure(NamedTuple):
    """To a front end: why there is no vector or Pong: a place in the kinds of failure, and words for it."""

    id: int
    kind: int
    message: str

    @classmethod
    def of(cls, id: int, kind: FailureKind, message: str = "") -> Failure:
        """A failure by the name of its kind."""
        return cls(id, _KINDS.index(kind), message[:_LONGEST_REASON])

    @property
    def name(self) -> FailureKind:
        """The name of its kind; one that is unknown is a failure too."""
        return _KINDS[self.kind] if self.kind < len(_KINDS) else "failed"


class Pong(NamedTuple):
    """To a front end: all front ends are up, and the sessions work."""

    id: int


class Scrape(NamedTuple):
    """To a front end: a snapshot of its metrics is wanted."""

    id: int


class Stop(NamedTuple):
    """To a front end: drain and end; with `hurry` at once."""

    hurry: bool


Message: TypeAlias = (
    Picture | Text | Cancel | Ping | Serving | Refused | Snapshot
    | Welcome | Answer | TextAnswer | Failure | Pong | Scrape | Stop
)  # fmt: skip


class _Tail(NamedTuple):
    """How a message's last field travels, behind those of a fixed size."""

    pack: Callable[[Any], bytes]
    unpack: Callable[[bytes], Any]


class _Layout(NamedTuple):
    kind: type[Any]
    head: struct.Struct
    tail: _Tail | None


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise WireError("a string is no UTF-8") from None


def _numbers(body: bytes, kind: str) -> NDArray[Any]:
    if len(body) % 4:
        raise WireError(f"{len(body)} bytes are no numbers of 4 bytes")
    return np.frombuffer(body, kind)


_TEXT = _Tail(lambda text: text.encode("utf-8", "replace"), _text)
_IDS = _Tail(lambda ids: np.array(ids, "<i4").tobytes(), lambda body: tuple(_numbers(body, "<i4").tolist()))
_VECTOR = _Tail(lambda vector: vector.astype("<f4", copy=False).tobytes(), lambda body: _numbers(body, "<f4"))

_LAYOUTS = (
    _Layout(Picture, struct.Struct("<QIId"), None),
    _Layout(Text, struct.Struct("<QId"), _IDS),
    _Layout(Cancel, struct.Struct("<Q"), None),
    _Layout(Ping, struct.Struct("<Q"), None),
    _Layout(Serving, struct.Struct("<"), None),
    _Layout(Refused, struct.Struct("<"), _TEXT),
    _Layout(Snapshot, struct.Struct("<Q"), _TEXT),
    _Layout(Welcome, struct.Struct("<"), _TEXT),
    _Layout(Answer, struct.Struct("<Qdd"), None),
    _Layout(TextAnswer, struct.Struct("<Qdd"), _VECTOR),
    _Layout(Failure, struct.Struct("<QB"), _TEXT),
    _Layout(Pong, struct.Struct("<Q"), None),
    _Layout(Scrape, struct.Struct("<Q"), None),
    _Layout(Stop, struct.Struct("<?"), None),
)
_NUMBERS = {layout.kind: number for number, layout in enumerate(_LAYOUTS)}
_FRAME = struct.Struct("<IB")  # bytes of the body, kind


def frame(message: Message) -> bytes:
    """The message as it travels."""
    number = _NUMBERS[type(message)]
    _, head, tail = _LAYOUTS[number]
    fields: tuple[Any, ...] = message
    if tail is None:
        return _FRAME.pack(head.size, number) + head.pack(*fields)
    rest = tail.pack(fields[-1])
    return _FRAME.pack(head.size + len(rest), number) + head.pack(*fields[:-1]) + rest


class Frames:
    """Puts messages together again from pieces of any length."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """The messages that are whole now. Raises WireError."""
        self._pending += data
        messages: list[Message] = []
        at, end = 0, len(self._pending)
        while end - at >= _FRAME.size:
            size, number = _FRAME.unpack_from(self._pending, at)
            if size > MAX_BODY_BYTES or number >= len(_LAYOUTS):
                raise WireError(f"no message: kind {number}, {size} bytes")
            start = at + _FRAME.size
            if end - start < size:
                break
            at = start + size
            messages.append(_message(number, bytes(self._pending[start:at])))
        del self._pending[:at]
        return messages


def _message(number: int, body: bytes) -> Message:
    kind, head, tail = _LAYOUTS[number]
    if len(body) < head.size or (tail is None and len(body) > head.size):
        raise WireError(f"{kind.__name__} of {len(body)} bytes")
    fields = head.unpack_from(body)
    if tail is not None:
        fields += (tail.unpack(body[head.size :]),)
    message: Message = kind(*fields)
    return message
