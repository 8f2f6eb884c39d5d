"""The few shapes that a card sees: a CUDA graph replays one shape, and memory stays what it was."""

from __future__ import annotations

from dataclasses import dataclass

# Lengths are multiples of 8, because the kernels of attention want keys in fours.
_SHORTEST = 8


@dataclass(frozen=True, order=True, slots=True)
class Bucket:
    """`batch` items of `length` tokens each; a picture has length 1."""

    batch: int
    length: int = 1

    @property
    def weight(self) -> int:
        """Its cost as the batcher counts it."""
        return self.batch * self.length


@dataclass(frozen=True, slots=True)
class Buckets:
    """All shapes of one tower, by length and then by batch, both ascending."""

    all: tuple[Bucket, ...]

    def length(self, tokens: int) -> int:
        """The shortest length that holds this many tokens. Raises ValueError past the longest."""
        for bucket in self.all:
            if bucket.length >= tokens:
                return bucket.length
        raise ValueError(f"{tokens} tokens are more than the longest bucket has")

    def fit(self, items: int, tokens: int = 1) -> Bucket:
        """The smallest bucket for so many items of at most so many tokens. Raises ValueError if none is."""
        length = self.length(tokens)
        for bucket in self.all:
            if bucket.length == length and bucket.batch >= items:
                return bucket
        raise ValueError(f"no bucket holds {items} items of {length} tokens")

    def most(self, tokens: int = 1) -> int:
        """The largest batch of items of so many tokens."""
        length = self.length(tokens)
        return max(bucket.batch for bucket in self.all if bucket.length == length)

    @property
    def capacity(self) -> int:
        """The weight up to which a batch of any length has a bucket."""
        lengths = {bucket.length for bucket in self.all}
        return min((self.most(length) + 1) * length - 1 for length in lengths)

    def without(self, bucket: Bucket) -> Buckets:
        """Without this one and any of its length that is larger: it did not fit into memory."""
        return Buckets(
            tuple(b for b in self.all if not (b.length == bucket.length and b.batch >= bucket.batch))
        )


def picture_buckets(most: int) -> Buckets:
    """Batches up to `most` pictures, `most` itself among them."""
    return Buckets(tuple(Bucket(batch) for batch in _up_to(most, 1)))


def text_buckets(most_tokens: int, context_length: int, *, one_length: bool = False) -> Buckets:
    """Batches of each length up to `most_tokens` tokens; `one_length`: texts always fill the context.

    Each length has a bucket for whatever the batcher may put together of it.
    """
    lengths = [context_length] if one_length else _up_to(context_length, _SHORTEST)
    return Buckets(
        tuple(
            Bucket(batch, length) for length in lengths for batch in _up_to(max(1, most_tokens // length), 1)
        )
    )


def _up_to(most: int, least: int) -> list[int]:
    """Powers of two, from 16 on also what lies halfway between them: padding costs a third there at most."""
    powers = [least << power for power in range(most.bit_length())]
    halfway = [power * 3 // 2 for power in powers if power >= 16]
    return [*(step for step in sorted(powers + halfway) if step < most), most]
