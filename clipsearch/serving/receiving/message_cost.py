"""What a message will take once it is parsed, read off its bytes before anything is built of them.

A parsed message can be 80 times as large as it was on the wire: 2 bytes are an empty search of a batch, and
161 in memory. The walk looks at tags and lengths only, and skips what texts, images and vectors hold, and
small messages: those are taken to be the worst that they can be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from clipsearch.serving.errors import InvalidArgument

# Bytes of memory, measured with protobuf 7.36 (upb) over a million elements each, its lists' spare room
# included: an empty string in a list 33, an empty message in a list 49 (Condition) to 161 (SearchRequest),
# an entry of a Struct 157, a number in a list 17.
_IN_LIST = 16
_TEXT = 24
_MESSAGE, _FIELD = 40, 8
_MAP_ENTRY = 100
_NUMBER = 16
# Not walked: a whole request of so many bytes, and a message inside of one. The worst of each takes so many
# times its bytes (empty searches and points; inside of one empty terms, conditions and values of lists).
_SMALL, _WORST, _SMALL_INSIDE, _WORST_INSIDE = 4096, 85, 4096, 29
# Fields that are looked at, some 0.2 s of them; what is left then is taken to be the worst that it can be.
_MOST_STEPS = 100_000
# Deeper than this no decoder goes.
_DEEPEST = 100

_VARINT, _FIXED64, _DELIMITED, _START_GROUP, _END_GROUP, _FIXED32 = range(6)
_CONTINUED = bytes(range(128, 256))  # the bytes of a varint but for its last


@dataclass(slots=True)
class _Field:
    """A field: its name, its message's kind, whether it is a list, and how many elements that may have."""

    name: str
    kind: _Kind | None
    repeated: bool
    number_bytes: int
    """Of a packed number on the wire: 4 or 8; 0 = a varint, -1 = not a number."""
    most: int | None


@dataclass(slots=True)
class _Kind:
    """A kind of message: its bytes in memory when it is empty, and its fields by number."""

    size: int
    fields: dict[int, _Field] = field(default_factory=dict)


class MessageCost:
    """Reckons messages of one kind; `most_elements` bounds lists by the full names of their fields."""

    def __init__(self, message: Descriptor, most_elements: Mapping[str, int]) -> None:
        self._kind = _kind_of(message, most_elements, {})

    def of(self, data: bytes, most: int) -> int:
        """Bytes of memory that `data` will take when it is parsed, about.

        Raises InvalidArgument for a list with more elements than it may have (COUNT_OUT_OF_RANGE) and for a
        message that takes more than `most` bytes (REQUEST_TOO_LARGE). What is no message costs what was seen
        of it: the parser will refuse it.
        """
        if len(data) <= _SMALL:
            return self._kind.size + _WORST * len(data)
        return _Walk(data, most).message(self._kind, 0, len(data), 0)


_NUMBER_BYTES = {
    FieldDescriptor.TYPE_STRING: -1,
    FieldDescriptor.TYPE_BYTES: -1,
    FieldDescriptor.TYPE_FLOAT: 4,
    FieldDescriptor.TYPE_FIXED32: 4,
    FieldDescriptor.TYPE_SFIXED32: 4,
    FieldDescriptor.TYPE_DOUBLE: 8,
    FieldDescriptor.TYPE_FIXED64: 8,
    FieldDescriptor.TYPE_SFIXED64: 8,
}


def _kind_of(message: Descriptor, most: Mapping[str, int], known: dict[str, _Kind]) -> _Kind:
    kind = known.get(message.full_name)
    if kind is None:
        entry = _MAP_ENTRY if message.GetOptions().map_entry else 0
        kind = known[message.full_name] = _Kind(_MESSAGE + _FIELD * len(message.fields) + entry)
        for each in message.fields:
            inner = None if each.message_type is None else _kind_of(each.message_type, most, known)
            number_bytes = _NUMBER_BYTES.get(each.type, 0)
            kind.fields[each.number] = _Field(
                each.name, inner, each.is_repeated, number_bytes, most.get(each.full_name)
            )
    return kind


class _Walk:
    """One walk over one message."""

    def __init__(self, data: bytes, most: int) -> None:
        self._data = data
        self._most = most
        self._cost = 0
        self._left = _MOST_STEPS

    def message(self, kind: _Kind, at: int, end: int, depth: int) -> int:
        """Walks the message that lies from `at` to `end`; answers the cost of all that was walked."""
        data, counts = self._data, dict[int, int]()
        self._spend(kind.size)
        while at < end:
            self._left -= 1
            if self._left < 0:
                self._spend((_WORST_INSIDE if depth else _WORST) * (end - at))
                return self._cost
            tag = data[at]
            at += 1
            if tag > 127:
                tag, at = _varint(data, at - 1, end)
            wire = tag & 7
            start = at
            if wire == _DELIMITED:
                length, start = _varint(data, at, end)
                at = start + length
            elif wire == _VARINT:
                _, at = _varint(data, at, end)
            elif wire == _FIXED64:
                at += 8
            elif wire == _FIXED32:
                at += 4
            elif wire not in (_START_GROUP, _END_GROUP):  # its fields follow one by one
                return self._cost
            if at > end:
                return self._cost
            found = kind.fields.get(tag >> 3)
            if found is None:
                self._spend(at - start + _NUMBER)
                continue
            number = 0
            if found.repeated:
                elements = _elements(data, start, at, found) if wire == _DELIMITED else 1
                number = counts.get(tag >> 3, 0)
                counts[tag >> 3] = number + elements
                if found.most is not None and number + elements > found.most:
                    raise InvalidArgument(
                        found.name,
                        f"{number + elements} or more given, at most {found.most} are allowed",
                        "COUNT_OUT_OF_RANGE",
                    )
                self._spend(_IN_LIST * elements)
            if found.kind is None:
                self._spend(at - start + _TEXT)
            elif wire == _DELIMITED and at - start <= _SMALL_INSIDE:
                self._spend(found.kind.size + _WORST_INSIDE * (at - start))
            elif wire == _DELIMITED and depth < _DEEPEST:
                try:
                    self.message(found.kind, start, at, depth + 1)
                except InvalidArgument as error:
                    if error.field == "request":
                        raise
                    error_path = f"{found.name}[{number}]" if found.repeated else found.name
                    raise error.inside(error_path) from None
            elif wire == _DELIMITED:
                self._spend(at - start)
        return self._cost

    def _spend(self, size: int) -> None:
        self._cost += size
        if self._cost > self._most:
            raise InvalidArgument(
                "request",
                f"takes more than {self._most} bytes of memory, the limit, when it is read",
                "REQUEST_TOO_LARGE",
            )


def _elements(data: bytes, start: int, end: int, found: _Field) -> int:
    """How many elements of a list one piece of the wire holds."""
    if found.kind is not None or found.number_bytes < 0:
        return 1
    if found.number_bytes:
        return (end - start) // found.number_bytes
    return len(data[start:end].translate(None, _CONTINUED))


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """The number at `at` and where it ends: past `end` if it is none."""
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    return 0, end + 1
