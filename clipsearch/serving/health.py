"""Whether the process lives and is ready for calls: by gRPC's health service, and for the HTTP port.

`liveness` is SERVING as long as the event loop answers. Readiness, overall ("") and by service, is
earned by the services' probes and lost when one has failed for longer than a service allows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import structlog
from grpc_health.v1 import health
from grpc_health.v1.health_pb2 import HealthCheckResponse

from clipsearch.serving.errors import ServiceError
from clipsearch.serving.service import Probe, Service

LIVENESS = "liveness"
POLL_S = 1.0
# A dependency that is frozen does not answer at all: that is a failure too.
PROBE_TIMEOUT_S = 2.0

_log = structlog.get_logger(__name__)


class Readiness:
    """Asks the probes once a second and tells the health service.

    `on_change` hears of each service that became ready or not.
    """

    def __init__(
        self,
        on_change: Callable[[str, bool], None] = lambda service, ready: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.servicer = health.aio.HealthServicer()
        self.ready = asyncio.Event()
        self._services: Sequence[Service] = ()
        self._on_change = on_change
        self._clock = clock
        self._last_success: dict[str, float] = {}
        self._told: dict[str, bool] = {}
        self._failing: set[str] = set()
        self._draining = False

    async def begin(self, services: Sequence[Service]) -> None:
        """Alive, and not ready yet. To be called before the server starts."""
        self._services = services
        await self._tell(LIVENESS, True)
        for name in ("", *(service.name for service in services)):
            await self._tell(name, False)

    async def watch(self) -> None:
        """Asks the probes for ever; `ready` is set the first time that a service is ready."""
        while True:
            await self.check()
            await asyncio.sleep(POLL_S)

    async def check(self) -> None:
        """Asks each probe once and says what came of it."""
        probes = list({service.ready for service in self._services if service.ready is not None})
        failures = dict(zip(probes, await asyncio.gather(*map(_failure, probes)), strict=True))
        if self._draining:
            return
        now = self._clock()
        for service in self._services:
            failure = failures[service.ready] if service.ready is not None else None
            if failure is None:
                self._last_success[service.name] = now
                await self._change(service.name, True)
            elif now - self._last_success.get(service.name, -float("inf")) >= service.unready_after_s:
                await self._change(service.name, False, failure)
        ready = [self._told[service.name] for service in self._services]
        await self._change("", all(ready))
        # One service is of use without the others: with the encoder away at start, the search service
        # serves its collections and whatever needs no encoder, and health says that it is not all.
        if any(ready):
            self.ready.set()

    async def drain(self) -> None:
        """Not ready any more, whatever the probes say; still alive."""
        self._draining = True
        for name in ("", *(service.name for service in self._services)):
            await self._tell(name, False)

    async def serving(self, name: str) -> bool | None:
        """What the health service says of LIVENESS, a service, or "" (all); None = it knows no such name."""
        return self._told.get(name)

    async def _change(self, name: str, ready: bool, problem: str = "") -> None:
        if name and not ready and name not in self._failing:
            self._failing.add(name)
            _log.warning("not ready", grpc_service=name, problem=problem)
        elif ready and name in self._failing:
            self._failing.discard(name)
            _log.info("ready again", grpc_service=name)
        if self._told[name] != ready:
            await self._tell(name, ready)

    async def _tell(self, name: str, ready: bool) -> None:
        self._told[name] = ready
        if name != LIVENESS:
            self._on_change(name, ready)
        await self.servicer.set(
            name, HealthCheckResponse.SERVING if ready else HealthCheckResponse.NOT_SERVING
        )


async def _failure(probe: Probe) -> str | None:
    """Why the probe failed; None = it did not."""
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            await probe()
    except TimeoutError:
        return f"no answer within {PROBE_TIMEOUT_S:g} s"
    except ServiceError as error:
        return error.message
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None
