"""Whether an answer is one that a hostile call may get."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from tests.documents import reasons

# The caller's fault, or the truth about what is there and how much is taken. Anything else is ours:
# UNKNOWN, INTERNAL and DATA_LOSS say so, UNAVAILABLE that a process died, DEADLINE_EXCEEDED that it hung.
ALLOWED = {
    "OK", "INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED",
    "UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED",
}  # fmt: skip
# gRPC itself answers so, before any of our code runs.
_WITHOUT_REASON = {"UNIMPLEMENTED"}
_REASONS = reasons()
_INSIDE = re.compile(r"Traceback|site-packages|\.py\b|(?:^|[\s'\"(])/(?:work|tmp|home|usr|root|var)/")
# `images[0]: images[0]: over 20 bytes`: an item named twice.
_TWICE = re.compile(r"(?:^|: )([\w.\[\]]+): \1: ")
_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the status, and the message if it is OK."""

    code: str
    details: str = ""
    status: status_pb2.Status | None = None
    message: Message | None = None


def problems(answer: Answer) -> list[str]:
    """What is wrong with an answer; an empty list = nothing."""
    found = list(_of_code(answer.code, answer.details))
    if answer.code != "OK" and answer.code not in _WITHOUT_REASON and not found:
        found += _of_status(answer.code, answer.status)
    for item in statuses(answer.message) if answer.message is not None else ():
        name = _NAMES.get(item.code, str(item.code))
        found += [f"item: {problem}" for problem in (*_of_code(name, item.message), *_of_status(name, item))]
    if answer.message is not None and not all(map(math.isfinite, _floats(answer.message))):
        found.append("the answer holds a number that is not finite")
    return found


def statuses(message: Message) -> Iterator[status_pb2.Status]:
    """The statuses of the items that failed, wherever they stand in an answer."""
    for field, value in message.ListFields():
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        for part in value if field.is_repeated else (value,):
            if isinstance(part, status_pb2.Status):
                if part.code:
                    yield part
            else:
                yield from statuses(part)


def _of_code(name: str, details: str) -> Iterator[str]:
    if name not in ALLOWED:
        yield f"{name}: {details[:300]}"
    elif _INSIDE.search(details):
        yield f"{name} tells of the inside: {details[:300]}"
    elif _TWICE.search(details):
        yield f"{name} names an item twice: {details[:300]}"


def _of_status(name: str, status: status_pb2.Status | None) -> Iterator[str]:
    info = error_details_pb2.ErrorInfo()
    if status is None or not any(detail.Unpack(info) for detail in status.details):
        yield f"{name} without ErrorInfo"
    elif info.reason not in _REASONS:
        yield f"{name} with the unknown reason {info.reason!r}"
    elif name not in _REASONS[info.reason]:
        yield f"{name} with {info.reason}, which comes with {_REASONS[info.reason]}"
    if name == "INVALID_ARGUMENT" and status is not None:
        bad = error_details_pb2.BadRequest()
        if not any(detail.Unpack(bad) for detail in status.details):
            yield "INVALID_ARGUMENT without a field violation"


def _floats(message: Message) -> Iterator[float]:
    for field, value in message.ListFields():
        if field.message_type is not None:
            if not field.message_type.GetOptions().map_entry:
                for part in value if field.is_repeated else (value,):
                    yield from _floats(part)
        elif field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
            yield from value if field.is_repeated else (value,)
