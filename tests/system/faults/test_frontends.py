"""An encoder's processes that die, freeze and are full: what the others, and the callers, see of it.

KILLS=20 kills as many front ends under load as `make kill-frontends` does.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from clipsearch.encoder.v1 import encoder_pb2 as pb
from tests.metrics import sample
from tests.processes import ServiceProcess, Start, frozen
from tests.system.services.frontends import alive, connections, front_ends
from tests.toy_bundle import SIZE, build_toy

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("KILLS", "3"))


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy") / "toy"
    build_toy(folder)
    return folder


Several = Callable[..., ServiceProcess]


@pytest.fixture
def several(service: Start, toy: Path) -> Several:
    """Starts an encoder with two front ends."""

    def start(**settings: str) -> ServiceProcess:
        told = {"ENCODER_MODEL": str(toy), "ENCODER_FRONTENDS": "2", "ENCODER_METRICS_PORT": "0"}
        return service("encoder", **{**told, **settings}).start()

    return start


def raw(number: int) -> pb.EncodeImageRequest:
    pixels = np.full((SIZE, SIZE, 3), number % 251, np.uint8)
    return pb.EncodeImageRequest(raw=pb.RawPixels(rgb=pixels.tobytes(), count=1))


class Load:
    """Pictures, one a call, from as many callers as there are stubs."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.in_flight = 0

    async def repeat(self, stub: Any, first: int) -> None:
        number = first
        while True:
            number += 1
            self.in_flight += 1
            try:
                await stub.EncodeImage(raw(number), timeout=30)
                self.outcomes["OK"] += 1
            except grpc.aio.AioRpcError as error:
                self.outcomes[error.code().name] += 1
                await asyncio.sleep(0.05)
            finally:
                self.in_flight -= 1
            await asyncio.sleep(0.002)


@asynccontextmanager
async def load(address: str, callers: int = 12, retries: bool = True) -> AsyncIterator[Load]:
    made = Load()
    async with connections(address, callers, retries) as stubs:
        tasks = [asyncio.create_task(made.repeat(stub, 10_000 * place)) for place, stub in enumerate(stubs)]
        try:
            yield made
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: Callable[[], object], within_s: float = 20.0) -> None:
    end = time.monotonic() + within_s
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < end, f"not so after {within_s} s"
        await asyncio.sleep(0.05)


def held(service: ServiceProcess) -> tuple[int, int, float]:
    """Mappings of shared memory, open files, and resident MB of a session process."""
    maps = Path(f"/proc/{service.pid}/maps").read_text().count("memfd:clipsearch")
    resident = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{service.pid}/status").read_text())
    assert resident is not None
    return maps, len(list(Path(f"/proc/{service.pid}/fd").iterdir())), int(resident[1]) / 1024


@pytest.mark.timeout(60 + 20 * KILLS)
async def test_front_ends_that_are_killed_under_load_cost_no_call_and_leave_nothing(several: Several) -> None:
    encoder = several()
    figures = []
    async with load(encoder.address) as loaded:
        await until(lambda: loaded.outcomes["OK"] > 200)
        for number in range(KILLS):
            victims = front_ends(encoder)
            before = loaded.outcomes["OK"]
            os.kill(victims[number % 2], signal.SIGKILL)

            def replaced(victims: list[int] = victims) -> bool:
                return len(set(front_ends(encoder)) - set(victims)) == 1 and (
                    sample(encoder.metrics(), "clipsearch_encoder_frontends") == 2
                )

            await until(replaced)
            await until(lambda before=before: loaded.outcomes["OK"] > before + 200)
            figures.append(await asyncio.to_thread(held, encoder))
    assert set(loaded.outcomes) == {"OK"}
    # The load cancels its last calls: the encoder hears of it a moment later.
    await until(lambda: sample(encoder.metrics(), "clipsearch_encoder_admitted_items", tower="image") == 0)
    page = encoder.metrics()
    assert sample(page, "clipsearch_encoder_frontend_restarts_total") == KILLS
    assert sample(page, "clipsearch_encoder_queue_items", tower="image") == 0
    mappings, files, resident = zip(*figures, strict=True)
    print(
        f"\n{KILLS} kills, {loaded.outcomes['OK']} calls: files {files}, MB {[round(mb) for mb in resident]}"
    )
    # Two front ends' slots, and the counts.
    assert set(mappings) == {3}
    assert max(files) - min(files) <= 2
    assert resident[-1] - resident[0] < 20
    assert encoder.stop() == 0


async def test_a_killed_front_end_drops_its_own_calls_and_no_others(several: Several) -> None:
    encoder = several()
    async with connections(encoder.address, 16) as stubs:
        for stub in stubs:
            await stub.GetModel(pb.GetModelRequest())
        with frozen(encoder.pid):  # so that calls are under way in both front ends
            calls = [stub.EncodeImage(raw(n), timeout=20) for n, stub in enumerate(stubs)]
            await asyncio.sleep(0.5)
            os.kill(front_ends(encoder)[0], signal.SIGKILL)
            await until(lambda: any(call.done() for call in calls))
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    failed = [outcome for outcome in outcomes if isinstance(outcome, grpc.aio.AioRpcError)]
    assert 0 < len(failed) < 16
    assert {error.code() for error in failed} == {grpc.StatusCode.UNAVAILABLE}
    # What was under way in the one that was killed does not count as work any more.
    await until(lambda: sample(encoder.metrics(), "clipsearch_encoder_frontends") == 2)
    assert sample(encoder.metrics(), "clipsearch_encoder_admitted_items", tower="image") == 0
    assert encoder.stop() == 0


async def test_without_the_session_process_callers_get_unavailable_and_all_of_it_ends(
    several: Several,
) -> None:
    encoder = several()
    processes = front_ends(encoder)
    async with connections(encoder.address, 12) as stubs:
        for stub in stubs:
            await stub.GetModel(pb.GetModelRequest())
        os.kill(encoder.pid, signal.SIGSTOP)
        calls = [stub.EncodeImage(raw(n), timeout=20) for n, stub in enumerate(stubs)]
        await asyncio.sleep(0.5)
        begun = time.monotonic()
        os.kill(encoder.pid, signal.SIGKILL)
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert {getattr(outcome, "code", lambda: None)() for outcome in outcomes} == {grpc.StatusCode.UNAVAILABLE}
    assert {outcome.details() for outcome in outcomes if isinstance(outcome, grpc.aio.AioRpcError)} == {
        "the session process is gone"
    }
    assert time.monotonic() - begun < 5
    assert encoder.stop() == -signal.SIGKILL
    await until(lambda: not any(map(alive, processes)), within_s=6)


async def test_a_frozen_session_process_makes_it_not_serving_and_late_work_never_runs(
    several: Several, health: Callable[[str], Any]
) -> None:
    encoder = several(ENCODER_UNREADY_AFTER_S="1")
    told = [health(encoder.address)]
    async with connections(encoder.address, 8) as stubs:
        for stub in stubs:
            await stub.GetModel(pb.GetModelRequest())
        before = sample(await asyncio.to_thread(encoder.metrics), "clipsearch_encoder_batch_items_sum")
        with frozen(encoder.pid):
            outcomes = await asyncio.gather(
                *(stub.EncodeImage(raw(n), timeout=0.5) for n, stub in enumerate(stubs)),
                return_exceptions=True,
            )
            assert {error.code() for error in outcomes} == {grpc.StatusCode.DEADLINE_EXCEEDED}
            await asyncio.to_thread(told[0].becomes, "NOT_SERVING", "", 15)
            assert told[0].of("liveness") == "SERVING"
        await asyncio.to_thread(told[0].becomes, "SERVING")
        await stubs[0].EncodeImage(raw(1), timeout=10)
    page = await asyncio.to_thread(encoder.metrics)
    assert sample(page, "clipsearch_encoder_batch_items_sum", tower="image") == before + 1
    assert encoder.stop() == 0


async def test_a_front_end_that_hangs_is_killed_and_another_takes_its_place(several: Several) -> None:
    encoder = several()
    hung = front_ends(encoder)[0]
    os.kill(hung, signal.SIGSTOP)
    await until(lambda: hung not in front_ends(encoder) and len(front_ends(encoder)) == 2, within_s=30)
    assert "a front end hangs and is killed" in encoder.text()
    await until(lambda: sample(encoder.metrics(), "clipsearch_encoder_frontends") == 2)
    assert encoder.stop() == 0


async def test_sigterm_under_load_with_another_replica_fails_no_call(several: Several) -> None:
    encoder, other = several(), several()
    processes = front_ends(encoder)
    async with load(f"ipv4:{encoder.address},{other.address}") as loaded:
        await until(lambda: loaded.outcomes["OK"] > 200)
        assert loaded.in_flight > 0
        assert await asyncio.to_thread(encoder.stop) == 0
        answered = loaded.outcomes["OK"]
        await until(lambda: loaded.outcomes["OK"] > answered + 200)
    assert set(loaded.outcomes) == {"OK"}
    assert not any(map(alive, processes))
    assert other.stop() == 0


async def test_sigterm_lets_calls_in_flight_finish(several: Several) -> None:
    encoder = several()
    async with connections(encoder.address, 12) as stubs:
        for stub in stubs:
            await stub.GetModel(pb.GetModelRequest())
        with frozen(encoder.pid):  # the calls are in the house and unanswered
            calls = [stub.EncodeImage(raw(n), timeout=20) for n, stub in enumerate(stubs)]
            await asyncio.sleep(0.5)
            os.kill(encoder.pid, signal.SIGTERM)
        answers = await asyncio.gather(*calls)
    assert len(answers) == 12
    assert await asyncio.to_thread(encoder.stop) == 0


async def test_a_second_signal_does_not_wait_for_calls_in_flight(several: Several) -> None:
    encoder = several()
    method = "/clipsearch.encoder.v1.EncoderService/EncodeImage"

    async def never() -> AsyncIterator[bytes]:
        await asyncio.sleep(60)
        yield b""

    async with grpc.aio.insecure_channel(encoder.address) as channel:
        call = channel.stream_unary(method)(never())  # its request never arrives
        await asyncio.sleep(0.5)
        os.kill(encoder.pid, signal.SIGTERM)
        await until(lambda: encoder.text().count('"draining"') == 3)
        await asyncio.sleep(0.5)
        assert alive(encoder.pid)
        begun = time.monotonic()
        assert await asyncio.to_thread(encoder.stop, signal.SIGTERM) == 0
        assert time.monotonic() - begun < 10  # its grace is 20 s
        with pytest.raises(grpc.aio.AioRpcError):
            await call


def test_sigterm_before_it_serves_ends_it_too(service: Start, toy: Path) -> None:
    encoder = service("encoder", ENCODER_MODEL=str(toy), ENCODER_FRONTENDS="2")
    encoder.launch()
    end = time.monotonic() + 30
    while not (encoder.log.exists() and "encoder is ready" in encoder.text()):
        assert time.monotonic() < end
        time.sleep(0.01)
    time.sleep(0.1)
    assert encoder.stop() == 0
    assert not encoder.port_file.exists()


def refusals(outcomes: list[Any]) -> Counter[str]:
    """Reasons of the refusals; each says when to come back."""
    reasons: Counter[str] = Counter()
    for error in outcomes:
        if not isinstance(error, grpc.aio.AioRpcError):
            continue
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        details = rpc_status.from_call(error).details
        assert any(detail.Unpack(info) for detail in details)
        assert any(detail.Unpack(retry) for detail in details)
        assert retry.retry_delay.ToMilliseconds() > 0
        reasons[info.reason] += 1
    return reasons


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"ENCODER_QUEUE_IMAGES": "10"}, "QUEUE_FULL"),
        ({"ENCODER_MAX_CONCURRENT_RPCS": "10"}, "TOO_MANY_CALLS"),
    ],
    ids=["pictures", "calls"],
)
async def test_a_bound_is_that_of_all_front_ends_together(
    several: Several, settings: dict[str, str], reason: str
) -> None:
    encoder = several(**settings)
    async with connections(encoder.address, 16) as stubs:
        for stub in stubs:
            await stub.GetModel(pb.GetModelRequest())
        with frozen(encoder.pid):
            calls = [
                stub.EncodeImage(raw(16 * turn + place), timeout=30)
                for turn in range(4)
                for place, stub in enumerate(stubs)
            ]
            await until(lambda: sum(call.done() for call in calls) >= 54, within_s=10)
            await asyncio.sleep(0.3)
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert refusals(outcomes) == {reason: 54}  # 10 of 64 got in, whichever front end they met
    assert encoder.stop() == 0


async def test_front_ends_that_cannot_start_again_end_the_service_when_none_is_left(
    several: Several, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("")
    encoder = several(ENCODER_TOKENS_FILE=str(tokens))
    one, other = front_ends(encoder)
    tokens.unlink()  # what runs goes on by the last one; what starts needs it
    os.kill(one, signal.SIGKILL)
    await until(lambda: encoder.text().count("a front end has ended") >= 2)
    assert alive(encoder.pid)
    assert alive(other)
    os.kill(other, signal.SIGKILL)
    assert await asyncio.to_thread(encoder.stop, 0) == 1
    assert "cannot read" in encoder.text().splitlines()[-1]
    assert encoder.text().count("a front end has ended") < 12
