"""Readiness that is earned and lost, and liveness beside it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
import structlog
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2 import HealthCheckResponse

from clipsearch.serving import health
from clipsearch.serving.errors import Unavailable
from clipsearch.serving.health import LIVENESS, Readiness
from clipsearch.serving.service import Service

NAME = "clipsearch.search.v1.SearchService"


class Dependency:
    """A probe that succeeds, fails or hangs as it is told."""

    def __init__(self) -> None:
        self.mode = "up"
        self.asked = 0

    async def __call__(self) -> None:
        self.asked += 1
        if self.mode == "down":
            raise Unavailable("store", "the store cannot be reached")
        if self.mode == "broken":
            raise RuntimeError("a bug")
        if self.mode == "frozen":
            await asyncio.sleep(60)


@pytest.fixture
def dependency() -> Dependency:
    return Dependency()


@pytest.fixture
def clock() -> SimpleNamespace:
    return SimpleNamespace(now=1000.0)


@pytest.fixture
def readiness(clock) -> Readiness:
    return Readiness(clock=lambda: clock.now)


def service(name: str, ready: Dependency | None, unready_after_s: float = 0.0) -> Service:
    return Service(name, lambda server: None, ready, unready_after_s)


async def serving(readiness: Readiness, name: str) -> bool:
    answer = await readiness.servicer.Check(health_pb2.HealthCheckRequest(service=name), None)
    return answer.status == HealthCheckResponse.SERVING


@pytest.mark.parametrize("mode", ["down", "broken", "frozen"])
async def test_readiness_is_lost_only_after_the_setting_and_regained_at_once(
    readiness, dependency, clock, monkeypatch, mode
):
    monkeypatch.setattr(health, "PROBE_TIMEOUT_S", 0.02)
    await readiness.begin([service(NAME, dependency, 5)])
    await readiness.check()
    dependency.mode = mode
    clock.now += 4.9
    await readiness.check()
    assert await serving(readiness, NAME)
    clock.now += 0.1
    await readiness.check()
    assert not await serving(readiness, NAME)
    assert not await serving(readiness, "")
    assert await serving(readiness, LIVENESS)
    dependency.mode = "up"
    await readiness.check()
    assert await serving(readiness, NAME)
    assert await serving(readiness, "")


async def test_a_short_failure_does_not_count_against_the_next(readiness, dependency, clock):
    await readiness.begin([service(NAME, dependency, 5)])
    await readiness.check()
    for mode in ("down", "up", "down"):
        dependency.mode = mode
        clock.now += 3
        await readiness.check()
    assert await serving(readiness, NAME)


async def test_one_service_that_is_not_ready_makes_the_whole_not_ready(readiness, dependency):
    dependency.mode = "down"
    await readiness.begin([service(NAME, dependency), service("other", None)])
    await readiness.check()
    assert not await serving(readiness, NAME)
    assert await serving(readiness, "other")
    assert not await serving(readiness, "")
    assert readiness.ready.is_set()  # the other one is of use: the process is announced


async def test_a_probe_that_services_share_is_asked_once(readiness, dependency):
    await readiness.begin([service("a", dependency), service("b", dependency)])
    await readiness.check()
    assert dependency.asked == 1
    assert await serving(readiness, "b")


async def test_the_log_tells_each_change_once_and_why(readiness, dependency, clock):
    with structlog.testing.capture_logs() as logs:
        await readiness.begin([service(NAME, dependency, 5)])
        await readiness.check()
        dependency.mode = "down"
        clock.now += 10
        await readiness.check()
        await readiness.check()
        dependency.mode = "up"
        await readiness.check()
    assert [(entry["event"], entry.get("problem")) for entry in logs] == [
        ("not ready", "the store cannot be reached"),
        ("ready again", None),
    ]
