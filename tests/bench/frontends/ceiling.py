"""What the session process costs a picture: asked by a process that does nothing but ask.

The asking process is a front end without gRPC and decoding: the real link, slots and messages.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry

from encoder_service.frontends.answering import Answering
from encoder_service.frontends.link import Link, RemotePictures
from encoder_service.frontends.shared import Segment, Shape, Slots, create
from encoder_service.frontends.wire import Serving
from encoder_service.metrics import EncoderMetrics
from encoder_service.settings import EncoderSettings
from tests.bench.frontends.stand_in import SIZE, open_stand_in

SHAPE = Shape(512, SIZE, 512)
IN_FLIGHT = 256


@dataclass(frozen=True, slots=True)
class Ceiling:
    """Pictures a second with one asking process, and CPU microseconds a picture of either process."""

    pictures_per_s: float
    session_us: float
    asking_us: float


async def _ask(connection: int, slots: int, seconds: float) -> None:
    link = Link(lambda hurry: None, lambda: None, lambda: "")
    await asyncio.get_running_loop().create_unix_connection(
        lambda: link, sock=socket.socket(fileno=connection)
    )
    pictures = RemotePictures(link, Slots(Segment.of(slots, SHAPE)))
    pixels = np.zeros((SIZE, SIZE, 3), np.uint8)
    done = 0
    end = time.monotonic() + seconds

    async def caller() -> None:
        nonlocal done
        while time.monotonic() < end:
            await pictures.compute(pixels, end + 60)
            done += 1

    begun, cpu = time.monotonic(), time.process_time()
    await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
    print(json.dumps([done, time.monotonic() - begun, time.process_time() - cpu]), flush=True)
    link.send(Serving())
    await asyncio.sleep(0.1)


async def _answer(model: Path, seconds: float) -> Ceiling:
    settings = EncoderSettings(model=model)
    async with open_stand_in(settings, EncoderMetrics(CollectorRegistry())) as standing:
        slots = create("bench", SHAPE.bytes)
        ours, theirs = socket.socketpair()
        answering = Answering(
            standing.pictures, standing.texts, Segment.of(slots, SHAPE), 77, lambda: None, lambda: ""
        )
        await asyncio.get_running_loop().create_unix_connection(lambda: answering, sock=ours)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.bench.frontends.ceiling",
            str(theirs.fileno()), str(slots), str(seconds),
            stdout=subprocess.PIPE, pass_fds=(theirs.fileno(), slots),
        )  # fmt: skip
        theirs.close()
        os.close(slots)
        cpu = time.process_time()
        out, _ = await process.communicate()
        session_s = time.process_time() - cpu
    done, wall_s, asking_s = json.loads(out)
    return Ceiling(done / wall_s, 1e6 * session_s / done, 1e6 * asking_s / done)


def measure(model: Path, seconds: float) -> Ceiling:
    """Asks for pictures for so many seconds."""
    return asyncio.run(_answer(model, seconds))


if __name__ == "__main__":
    asyncio.run(_ask(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
