"""Images wait for memory, not threads; whose fault it is that one cannot be decoded is told apart."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from PIL import Image
from PIL.ImageFile import ImageFile

from encoder_service.bundle import ImageRules
from encoder_service.inputs import images
from encoder_service.inputs.budget import MemoryBudget
from encoder_service.inputs.errors import InputError
from encoder_service.inputs.images import Decoding
from tests.unit.encoder_service.inputs.corpus import saved
from tests.waiting import settled, until

MIB = 2**20
RULES = ImageRules(size=16, resize="crop")
Jpeg = Callable[..., bytes]


def png(edge: int) -> bytes:
    return saved(Image.new("RGBA", (edge, edge), (200, 10, 10, 128)), "PNG")


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.fixture
def decoding(threads: ThreadPoolExecutor) -> Decoding:
    return Decoding(RULES, MIB, MemoryBudget(64 * MIB), threads, 2)


async def test_what_does_not_fit_now_waits_holding_no_thread_and_small_images_pass(
    decoding: Decoding, jpeg: Jpeg
) -> None:
    budget = decoding.budget
    held = budget.try_take(budget.most)
    assert held is not None
    large = [asyncio.create_task(decoding.decode(png(1500 + n))) for n in range(4)]
    await until(lambda: budget.waiting == 4)
    for _ in range(10):  # more of them than there are threads
        await decoding.decode(jpeg())
    assert not any(task.done() for task in large)
    budget.give_back(held)
    answers = await asyncio.gather(*large)
    assert [image.input.width for image in answers] == [1500, 1501, 1502, 1503]
    assert (budget.used, budget.waiting) == (0, 0)


async def test_what_can_never_fit_is_refused_at_once_with_both_numbers(decoding: Decoding) -> None:
    held = decoding.budget.try_take(decoding.budget.most)
    assert held is not None
    with pytest.raises(InputError, match=r"takes \d+ MiB of memory, the limit is 56 MiB") as caught:
        await decoding.decode(png(5000))
    assert caught.value.metadata["limit"] == str(56 * MIB)


async def test_who_leaves_between_grant_and_thread_keeps_no_memory(
    decoding: Decoding, threads: ThreadPoolExecutor
) -> None:
    budget = decoding.budget
    held = budget.try_take(budget.most)
    assert held is not None
    waiting = asyncio.create_task(decoding.decode(png(1500)))
    await until(lambda: budget.waiting == 1)
    go = [asyncio.Event(), asyncio.Event()]
    loop = asyncio.get_running_loop()
    busy = [threads.submit(asyncio.run_coroutine_threadsafe(event.wait(), loop).result) for event in go]
    budget.give_back(held)
    await until(lambda: budget.waiting == 0)
    await settled()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    for event in go:
        event.set()
    await asyncio.gather(*map(asyncio.wrap_future, busy))
    assert budget.used == 0


@pytest.mark.parametrize(
    "error",
    [
        OSError("broken"),
        SyntaxError("x"),
        ValueError("x"),
        KeyError(1),
        TypeError("x"),
        ZeroDivisionError(),
        EOFError(),
    ],
)
async def test_what_the_library_raises_about_a_file_is_the_files_fault(
    decoding: Decoding, jpeg: Jpeg, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load_prepare(self: ImageFile) -> None:
        raise error

    # As if it stood in the library.
    code = load_prepare.__code__.replace(co_filename=images.Image.__file__)
    monkeypatch.setattr(load_prepare, "__code__", code)
    monkeypatch.setattr(ImageFile, "load_prepare", load_prepare)
    with pytest.raises(InputError) as caught:
        await decoding.decode(jpeg())
    assert caught.value.reason in ("IMAGE_INVALID", "IMAGE_TRUNCATED")
    assert decoding.budget.used == 0


@pytest.mark.parametrize("step", ["read_file", "square", "_draft", "square_bytes"])
@pytest.mark.parametrize("error", [ValueError("x"), KeyError(1), OSError("x"), EOFError(), TypeError("x")])
async def test_what_our_own_code_raises_is_the_servers_fault(
    decoding: Decoding, jpeg: Jpeg, step: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(images, step, fail)
    with pytest.raises(type(error)):
        await decoding.decode(jpeg())
    assert decoding.budget.used == 0


async def test_a_lack_of_the_machine_is_not_the_files_fault(
    decoding: Decoding, jpeg: Jpeg, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(error: Exception) -> Callable[[ImageFile], None]:
        def load(self: ImageFile) -> None:
            raise error

        return load

    monkeypatch.setattr(ImageFile, "load", fail(OSError(errno.EMFILE, "too many open files")))
    with pytest.raises(OSError, match="too many open files"):
        await decoding.decode(jpeg())
    for lack in (MemoryError(), OSError("out of memory error when reading image file")):
        monkeypatch.setattr(ImageFile, "load", fail(lack))
        with pytest.raises(MemoryError):
            await decoding.decode(jpeg())
    assert decoding.budget.used == 0


async def test_memory_is_free_again_after_whatever_happened(decoding: Decoding, jpeg: Jpeg) -> None:
    for data in (jpeg(), jpeg()[:300], b"nothing", png(700)[:-40]):
        await asyncio.gather(decoding.decode(data), return_exceptions=True)
    assert (decoding.budget.used, decoding.budget.waiting) == (0, 0)
