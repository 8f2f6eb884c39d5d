"""`make bounds`: whether a caller or a file can kill the encoder; build/bounds.json, status 1 if one can.

The encoder gets a budget for 1.5 GiB in all. 16 clients fire each kind of file and message that would take
gigabytes, requests that never end among them, and valid images in between: its memory must stay below
1.5 GiB, every valid image must be answered, and health within a second.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import random
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from clipsearch.client.errors import from_rpc_error
from clipsearch.encoder.v1 import encoder_pb2
from tests import health as health_of
from tests.fuzz import giants
from tests.processes import ServiceProcess
from tests.unit.clipsearch.serving.http2 import Unfinished

CLIENTS = 16
LIMIT_MB = 1536.0
SLOWEST_HEALTH_MS = 1000.0
BUDGET = {"ENCODER_DECODE_MEMORY_MB": "512", "ENCODER_REQUEST_MEMORY_MB": "160"}
# A valid image must be answered within this time, refusals and their waits included.
_PATIENCE_S = 60.0
_HOSTILE_S = 20.0
_PHOTO, _PHONE = "photo_jpeg", "phone_jpeg"
_MESSAGES = [name for name, (method, _) in giants.MESSAGES.items() if ".encoder." in method]
KINDS = [*giants.IMAGES, *_MESSAGES, "unfinished"]
# What a refusal must never be.
_OUR_FAULT = {"INTERNAL", "UNKNOWN"}


@dataclass
class Fired:
    """What the clients saw: answers of each kind by status, and of the valid images those that failed."""

    answers: dict[str, Counter[str]] = field(default_factory=dict)
    valid: int = 0
    slowest_valid_s: float = 0.0
    failed: list[str] = field(default_factory=list)


@dataclass
class Health:
    """Asks an encoder's health all the time, from a thread, until the block ends."""

    address: str
    slowest_ms: float = 0.0
    failed: list[str] = field(default_factory=list)

    def __enter__(self) -> Health:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _ask(self) -> None:
        health = health_of.Health(self.address)
        while not self._stop.wait(0.05):
            for service in ("", "liveness"):
                start = time.perf_counter()
                try:
                    if health.of(service) != health_of.SERVING:
                        self.failed.append(f"{service or 'overall'} is not SERVING")
                except grpc.RpcError as error:
                    self.failed.append(str(error))
                self.slowest_ms = max(self.slowest_ms, 1000 * (time.perf_counter() - start))
        health.close()


class Client:
    """One of the clients, on a connection of its own."""

    def __init__(self, address: str, files: dict[str, bytes], rng: random.Random, fired: Fired) -> None:
        self._address, self._files, self._rng, self._fired = address, files, rng, fired

    async def run(self, kinds: list[str], until: float) -> None:
        """Fires the kinds one after another, a valid image after each, over and over."""
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
        async with grpc.aio.insecure_channel(self._address, options) as channel:
            turn = 0
            while time.monotonic() < until:
                kind = kinds[turn % len(kinds)]
                turn += 1
                await self._hostile(channel, kind)
                await self._valid(channel, _PHONE if turn % 8 == 0 else _PHOTO)

    async def _hostile(self, channel: grpc.aio.Channel, kind: str) -> None:
        seen = self._fired.answers.setdefault(kind, Counter())
        if kind == "unfinished":
            calls = Unfinished(giants.ENCODE_IMAGE.encode(), 4, 50_000_000, 49_000_000)
            with suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(2):
                    await calls.run(self._address)
            seen["sent MB"] += sum(calls.sent.values()) // 1_000_000
            for answer in calls.answers.values():
                seen[_code(int(answer.get("grpc-status", "2")))] += 1
            return
        if kind in giants.IMAGES:
            method = giants.ENCODE_IMAGE
            images = [self._files[kind]] * self._rng.choice([1, 2])
            data = encoder_pb2.EncodeImageRequest(images=images).SerializeToString()
        else:
            method, data = giants.MESSAGES[kind][0], self._files[kind]
        try:
            answer = await channel.unary_unary(method)(data, timeout=_HOSTILE_S)
        except grpc.aio.AioRpcError as error:
            seen[error.code().name] += 1
            return
        seen["OK"] += 1
        if method == giants.ENCODE_IMAGE:
            for item in encoder_pb2.EncodeImageResponse.FromString(answer).embeddings:
                if item.HasField("error"):
                    seen[f"item: {_code(item.error.code)}"] += 1

    async def _valid(self, channel: grpc.aio.Channel, name: str) -> None:
        request = encoder_pb2.EncodeImageRequest(images=[self._files[name]]).SerializeToString()
        start, end = time.monotonic(), time.monotonic() + _PATIENCE_S
        self._fired.valid += 1
        while True:
            try:
                data = await channel.unary_unary(giants.ENCODE_IMAGE)(
                    request, timeout=max(0.1, end - time.monotonic())
                )
                break
            except grpc.aio.AioRpcError as error:
                wait = from_rpc_error(error, self._address).retry_after
                if wait is None or time.monotonic() + wait > end:
                    self._fired.failed.append(f"{name}: {error.code().name}: {error.details()}")
                    return
                await asyncio.sleep(wait)
        self._fired.slowest_valid_s = max(self._fired.slowest_valid_s, time.monotonic() - start)
        (item,) = encoder_pb2.EncodeImageResponse.FromString(data).embeddings
        if not item.HasField("vector"):
            self._fired.failed.append(f"{name}: {item.error.message}")


def _code(number: int) -> str:
    return next(code.name for code in grpc.StatusCode if code.value[0] == number)


def files() -> dict[str, bytes]:
    """All that is fired, made beforehand."""
    made = {name: make() for name, make in giants.IMAGES.items()}
    made |= {name: giants.MESSAGES[name][1]() for name in _MESSAGES}
    return {**made, _PHOTO: giants.photo_jpeg(), _PHONE: giants.phone_jpeg()}


def fire(address: str, made: dict[str, bytes], seconds: float) -> Fired:
    """All clients, in this process."""
    fired = Fired()

    async def run() -> None:
        until = time.monotonic() + seconds
        clients = []
        for number in range(CLIENTS):
            rng = random.Random(f"1/{number}")
            order = rng.sample(KINDS, len(KINDS))
            clients.append(Client(address, made, rng, fired).run(order, until))
        await asyncio.gather(*clients)

    asyncio.run(run())
    return fired


def run(bundle: Path, folder: Path, seconds: float) -> dict[str, object]:
    """Starts the encoder, fires, and tells what came of it."""
    made = files()
    service = ServiceProcess("encoder", folder, ENCODER_MODEL=str(bundle), **BUDGET)
    with service, ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        with Health(service.address) as health:
            fired = pool.submit(fire, service.address, made, seconds).result()
        alive = service.alive()
        peak = service.peak_rss_mb() * 1e6 / 2**20 if alive else float("inf")
        faults = [line[:2000] for line in service.text().splitlines() if "unexpected error" in line]
    ours = {
        kind: {code: count for code, count in codes.items() if code.rpartition(" ")[2] in _OUR_FAULT}
        for kind, codes in fired.answers.items()
    }
    ours = {kind: codes for kind, codes in ours.items() if codes}
    passed = (
        alive
        and peak < LIMIT_MB
        and not (fired.failed or health.failed or ours or faults)
        and health.slowest_ms < SLOWEST_HEALTH_MS
    )
    return {
        "passed": passed,
        "peak_mb": round(peak, 1),
        "valid": fired.valid,
        "valid_failed": len(fired.failed),
        "slowest_valid_s": round(fired.slowest_valid_s, 2),
        "slowest_health_ms": round(health.slowest_ms, 1),
        "health_failed": health.failed[:10],
        "restarts": 0 if alive else 1,
        "internal": ours,
        "faults_logged": faults[:10],
        "failures": fired.failed[:20],
        "answers": {kind: dict(codes) for kind, codes in sorted(fired.answers.items())},
    }


def main() -> None:
    """Parses the flags, runs, writes the report."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.bounds", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    flags = parser.parse_args()
    report = run(Path("build/models/starter"), Path("build/bounds"), flags.seconds)
    out = Path("build/bounds.json")
    out.write_text(json.dumps(report, indent=1) + "\n")
    for name in ("passed", "peak_mb", "valid", "valid_failed", "slowest_valid_s", "slowest_health_ms"):
        print(f"{name}: {report[name]}")
    print(f"report: {out}")
    sys.exit(0 if report["passed"] else 1)


if __name__ == "__main__":
    main()
