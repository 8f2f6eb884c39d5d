"""The standard health service: whether the process lives, and whether it is ready for calls.

`liveness` is SERVING as long as the event loop answers. Readiness, overall ("") and by service, is
earned by the services' probes and lost when one has failed for longer than a setting.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

import structlog
from grpc_health.v1 import health
from grpc_health.v1.health_pb2 import HealthCheckResponse

from clipsearch.serving.errors import ServiceError

LIVENESS = "liveness"
POLL_S = 1.0
# A dependency that is frozen does not answer at all: that is a failure too.
PROBE_TIMEOUT_S = 2.0

# Returns if the service can do its work, raises if not.
Probe = Callable[[], Awaitable[None]]

_log = structlog.get_logger(__name__)


class Readiness:
    """Asks the probes once a second and tells the health service.

    `services` maps a service's name to its probe (None = ready as soon as it is served). `on_change`
    hears of each service that became ready or not.
    """

    def __init__(
        self,
        services: Mapping[str, Probe | None],
        unready_after_s: float,
        on_change: Callable[[str, bool], None] = lambda service, ready: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.servicer = health.aio.HealthServicer()
        self.ready = asyncio.Event()
        self._services = services
        self._unready_after_s = unready_after_s
        self._on_change = on_change
        self._clock = clock
        self._last_success: dict[str, float] = {}
        self._said: dict[str, bool] = {}
        self._draining = False

    async def begin(self) -> None:
        """Alive, and not ready yet. To be called before the server starts."""
        await self.servicer.set(LIVENESS, HealthCheckResponse.SERVING)
        for name in ("", *self._services):
            await self._set(name, False)

    async def watch(self) -> None:
        """Asks the probes for ever; `ready` is set the first time that a service is ready."""
        while True:
            await self.check()
            await asyncio.sleep(POLL_S)

    async def check(self) -> None:
        """Asks each probe once and says what came of it."""
        probes = list({probe for probe in self._services.values() if probe is not None})
        failures = dict(zip(probes, await asyncio.gather(*map(self._failure, probes)), strict=True))
        now = self._clock()
        for name, probe in self._services.items():
            failure = failures[probe] if probe is not None else None
            if failure is None:
                self._last_success[name] = now
                await self._say(name, True)
            elif now - self._last_success.get(name, -float("inf")) >= self._unready_after_s:
                await self._say(name, False, failure)
        await self._say("", all(self._said[name] for name in self._services))
        # One service is of use without the others: with the encoder away at start, the search service
        # serves its collections and whatever needs no encoder, and health says that it is not all.
        if any(self._said.values()):
            self.ready.set()

    async def drain(self) -> None:
        """Not ready any more, whatever the probes say; still alive."""
        self._draining = True
        for name in ("", *self._services):
            await self._set(name, False)

    async def _failure(self, probe: Probe) -> str | None:
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

    async def _say(self, name: str, ready: bool, problem: str = "") -> None:
        before = self._said.get(name)
        if self._draining or before == ready:
            return
        self._said[name] = ready
        if name and not ready:
            _log.warning("not ready", grpc_service=name, problem=problem)
        elif name and before is not None:
            _log.info("ready again", grpc_service=name)
        await self._set(name, ready)

    async def _set(self, name: str, ready: bool) -> None:
        self._on_change(name, ready)
        await self.servicer.set(
            name, HealthCheckResponse.SERVING if ready else HealthCheckResponse.NOT_SERVING
        )
