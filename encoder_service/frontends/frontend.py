"""A front end: a process that serves gRPC, decodes and tokenises, and asks the session process for vectors.

    python -m encoder_service.frontends.frontend SOCKET SLOTS LEDGER

Started by the session process alone; the arguments are file descriptors that it hands down.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import threading
import warnings
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any

import structlog

from clipsearch.serving.errors import Unavailable
from clipsearch.serving.lifecycle import Seat, Service, StartError, serve
from clipsearch.serving.log import configure_logging
from clipsearch.serving.metrics import Metrics
from encoder_service.assembly import assemble
from encoder_service.bundle import BundleError, Manifest
from encoder_service.encoder import Running
from encoder_service.frontends.link import Link, RemotePictures, RemoteTexts
from encoder_service.frontends.metrics import snapshot
from encoder_service.frontends.shared import Ledger, Segment, Shape, Slots, slots_of
from encoder_service.frontends.wire import Refused, Serving
from encoder_service.metrics import EncoderMetrics
from encoder_service.servicer import encoder_services
from encoder_service.settings import EncoderSettings
from encoder_service.tokens import TextTokenizer

# Time for the answers UNAVAILABLE when the session process has gone; whoever starts the service anew
# wants the port.
_LAST_WORDS_S = 0.3
_STUCK_S = 5.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the session process tells a front end: everything but the pixels and the counts."""

    settings: EncoderSettings
    manifest: Manifest
    running: Running
    row: int
    loop_lag: bool

    def to_json(self) -> str:
        """As it travels."""
        return json.dumps(
            {
                "settings": self.settings.model_dump(mode="json"),
                "manifest": self.manifest.model_dump(mode="json"),
                "running": asdict(self.running),
                "row": self.row,
                "loop_lag": self.loop_lag,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Facts:
        """The inverse."""
        told: dict[str, Any] = json.loads(text)
        return cls(
            EncoderSettings(**told["settings"]),
            Manifest.model_validate(told["manifest"]),
            Running(**told["running"]),
            told["row"],
            told["loop_lag"],
        )


class FrontEnd:
    """The process from its link to its end."""

    def __init__(self) -> None:
        self._metrics = Metrics()
        self._stop, self._hurry = asyncio.Event(), asyncio.Event()
        self.link = Link(self._ordered, self._lost, lambda: snapshot(self._metrics.registry))

    async def run(self, facts: Facts, slots: Slots, ledger: Ledger) -> None:
        """Serves until it is told to stop. Raises StartError; Unavailable if the session process has gone."""
        settings, row = facts.settings, facts.row
        calls = ledger.calls(row)
        seat = Seat(calls, lambda: self.link.send(Serving()), self._stop, self._hurry)

        @asynccontextmanager
        async def open_services() -> AsyncIterator[Sequence[Service]]:
            tokenizer = await asyncio.to_thread(TextTokenizer, settings.model, facts.manifest.text)
            with assemble(
                settings,
                EncoderMetrics(self._metrics.registry),
                facts.manifest,
                facts.running,
                tokenizer,
                RemotePictures(self.link, slots),
                RemoteTexts(self.link),
                ledger.houses(row),
            ) as encoder:
                yield encoder_services(encoder, settings, self.link.ping)

        beating = asyncio.create_task(self._metrics.loop_lag.watch()) if facts.loop_lag else None
        try:
            await serve(settings, "encoder", open_services, self._metrics, seat=seat)
        finally:
            if beating is not None:
                beating.cancel()
        if self.link.lost:
            raise Unavailable("encoder", "the session process is gone")

    def _ordered(self, hurry: bool) -> None:
        self._stop.set()
        if hurry:
            self._hurry.set()

    def _lost(self) -> None:
        """Without the session process there is nothing to serve: what waits is told so, then the end."""
        loop = asyncio.get_running_loop()
        self._stop.set()
        loop.call_later(_LAST_WORDS_S, self._hurry.set)
        stuck = threading.Timer(_STUCK_S, os._exit, [1])
        stuck.daemon = True
        stuck.start()


async def _main(connection: int, slots: int, counts: int) -> int:
    front = FrontEnd()
    await asyncio.get_running_loop().create_unix_connection(
        lambda: front.link, sock=socket.socket(fileno=connection)
    )
    try:
        facts = Facts.from_json(await front.link.welcome)
    except Unavailable:
        return 1
    configure_logging(facts.settings.log_level, facts.settings.log_format, "encoder", f"frontend-{facts.row}")
    manifest = facts.manifest
    shape = Shape(slots_of(facts.settings.queue_images), manifest.image.size, manifest.dimension)
    segment = Segment.of(slots, shape)
    ledger = Ledger(counts, facts.settings.frontends)
    for descriptor in (slots, counts):
        os.close(descriptor)
    try:
        await front.run(facts, Slots(segment), ledger)
    except (StartError, BundleError) as error:
        front.link.send(Refused(str(error)))
        await asyncio.sleep(0)  # what is put into the outbox leaves at the loop's next turn
        await asyncio.sleep(0)
        return 1
    except Unavailable as error:
        _log.error("stopped", problem=error.message)
        return 1
    return 0


def main() -> None:
    """Runs until the session process orders the end, or ends."""
    # A Ctrl-C, or a service manager that signals every process of the service, reaches the session
    # process too: it passes the order on, once.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    warnings.filterwarnings("ignore", module="PIL")  # as the service does without front ends
    connection, slots, counts = map(int, sys.argv[1:])
    sys.exit(asyncio.run(_main(connection, slots, counts)))


if __name__ == "__main__":
    main()
