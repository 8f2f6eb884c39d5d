"""Bytes that pretend to be messages: mutations of real ones, and a few that no encoder writes."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

_VARINTS = [
    b"\x00",
    b"\x7f",
    b"\xff" * 9 + b"\x01",
    b"\x80" * 9 + b"\x01",
    b"\xff\xff\xff\xff\x0f",
    b"\x80" * 11,
]
# A lone surrogate, an overlong slash, a code point past the last, half a character, a stray byte.
_BAD_UTF8 = [b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\xff"]
_LONGEST = 1 << 20


def mutated(rng: random.Random, corpus: Sequence[bytes]) -> bytes:
    """A request of `corpus`, damaged in one to four places."""
    data = rng.choice(corpus)
    for _ in range(rng.randint(1, 4)):
        data = rng.choice(_MUTATIONS)(rng, data, corpus)[:_LONGEST]
    return data


def _flip(rng: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    if not data:
        return data
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def _overwrite(rng: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at, count = rng.randint(0, len(data)), rng.randint(1, 8)
    return data[:at] + rng.randbytes(count) + data[at + count :]


def _cut(rng: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    return data[: rng.randint(0, len(data))]


def _drop(rng: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at = rng.randint(0, len(data))
    return data[:at] + data[at + rng.randint(1, 8) :]


def _repeat(rng: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    return data * rng.choice([2, 3, 50])


def _join(rng: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    """Fields merge: oneofs get a second member, lists grow, scalars change."""
    return data + rng.choice(corpus)


def _insert(rng: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    at = rng.randint(0, len(data))
    piece = rng.choice([*_VARINTS, *_BAD_UTF8, rng.randbytes(rng.randint(1, 16))])
    return data[:at] + piece + data[at:]


def _unknown(rng: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    """A tag of any field and wire type (groups and the two that do not exist included)."""
    return (
        data + varint(rng.choice([0, 1, 2, 3, 4, 5, 15, 500, 2**29 - 1]) << 3 | rng.randrange(8)) + data[:20]
    )


def _nest(rng: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    """Messages inside one another, far past what any decoder walks down."""
    for _level in range(rng.choice([5, 40, 300])):
        data = varint(rng.randint(1, 6) << 3 | 2) + varint(len(data)) + data
        if len(data) > 200_000:
            break
    return data


def _lie(rng: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    """A length that the data does not have."""
    return varint(rng.randint(1, 12) << 3 | 2) + rng.choice(_VARINTS) + data


_Mutation = Callable[[random.Random, bytes, Sequence[bytes]], bytes]
_MUTATIONS: list[_Mutation] = [
    _flip, _flip, _overwrite, _cut, _drop, _repeat, _join, _insert, _insert, _unknown, _nest, _lie
]  # fmt: skip


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])
