"""Batches for a card, in few shapes: twice as large each, so that its memory stays what it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import structlog

from encoder_service.bundle import TextRules, Vectors
from encoder_service.inputs.texts import TextInput, Tokens, pad
from encoder_service.runtime.providers import SessionError
from encoder_service.runtime.session import Feeding, Item, OnnxSession, Pixels, Run, first_line

_log = structlog.get_logger(__name__)

# Batch sizes that measuring may choose: images, short texts.
_IMAGES, _TEXTS = (16, 512), (64, 1024)
# Tokens of the shortest length; all are multiples of 8, because the kernels of attention want keys in fours.
_SHORT = 8
# One batch runs while the next is gathered and copied.
_IN_FLIGHT = 2
# What ONNX Runtime says when the card, or what it may take of it, is full.
_OUT_OF_MEMORY = ("Failed to allocate memory", "out of memory", "Available memory of")


def gpu_images(session: OnnxSession, size: int, asked: int) -> Feeding[Pixels]:
    """The image tower's, for `size` x `size` pixels; `asked` is the largest batch, 0 = to be measured.

    Raises SessionError if the card cannot run it.
    """

    def up_to(most: int) -> Run[Pixels]:
        def run(images: Sequence[Pixels]) -> Vectors:
            rows = fit(len(images), most)
            return session.run({"pixels": np.stack(_filled(images, rows))})[: len(images)]

        return run

    blank = np.zeros((size, size, 3), np.uint8)
    most = _most(lambda most: up_to(most)([blank] * most), asked or _IMAGES[1])
    return Feeding(up_to(most), lambda pixels: 1, (min(_IMAGES[0], most), most), most, _IN_FLIGHT)


def gpu_texts(session: OnnxSession, rules: TextRules, asked: int) -> Feeding[Tokens]:
    """The text tower's; `asked` is the largest batch in tokens."""
    context = rules.context_length
    shortest = context if rules.padding == "max_length" else min(_SHORT, context)

    def up_to(most: int) -> Run[Tokens]:
        def run(texts: Sequence[Tokens]) -> Vectors:
            length = max(map(weigh, texts))
            rows = fit(len(texts), max(1, most // length))
            return session.run(pad(_filled(texts, rows), rules, length))[: len(texts)]

        return run

    def weigh(tokens: Tokens) -> int:
        return fit(len(tokens.ids), context, shortest)

    longest = Tokens((rules.pad_id,) * context, TextInput(context))
    most = _most(lambda most: up_to(most)([longest] * max(1, most // context)), asked or _TEXTS[1] * shortest)
    largest = max(1, most // shortest)
    return Feeding(up_to(most), weigh, (min(_TEXTS[0], largest), largest), most, _IN_FLIGHT)


def fit(count: int, most: int, least: int = 1) -> int:
    """The smallest of `least` and its doubles that is `count` or more, or else `most`."""
    size = least
    while size < count:
        size *= 2
    return min(size, most)


def _filled(items: Sequence[Item], rows: int) -> list[Item]:
    """With copies of its last item up to so many."""
    return [*items, *[items[-1]] * (rows - len(items))]


def _most(run: Callable[[int], Vectors], most: int) -> int:
    """`most`, or a half of it so often that the card has memory for it. Raises SessionError."""
    while True:
        try:
            run(most)
            return most
        except Exception as error:  # ONNX Runtime's own exception types are not exported
            full = any(sign in str(error) for sign in _OUT_OF_MEMORY)
            if most == 1 or not full:
                raise SessionError(
                    f"a batch of {most} does not run on the GPU: {first_line(error)}"
                ) from None
            _log.warning("no GPU memory for a batch", size=most, next=most // 2)
            most //= 2
