"""How long `clipsearch map` takes for 100,000 vectors, and how much memory: `make bench-map`.

Fills a collection with clustered vectors, two modalities a gap apart, and runs the command as a user
would, without an encoder. Writes build/bench/map.json.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from clipsearch import Client, Point
from tests.bench.machine import describe
from tests.processes import ServiceProcess, cli

VECTORS = 100_000
DIMENSION = 512
GROUPS = 300
OUT = Path("build/bench/map.json")
_BATCH = 250
_LIMIT_S = 540


def main() -> None:
    """Measures once and prints what came of it."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        data = {"SEARCH_DATA_DIR": str(folder / "data"), "SEARCH_ENCODER": "127.0.0.1:9"}
        with ServiceProcess("search", folder, **data) as service:
            with Client(service.address) as client:
                fill(client)
            seconds, cpu_seconds, peak_mb = run(service.address, folder / "out")
    figures = {
        "vectors": VECTORS,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_seconds, 1),
        "peak_rss_mb": round(peak_mb),
        "machine": describe(["numpy", "pacmap", "scikit-learn", "plotly"]),
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(figures, indent=2) + "\n")
    print(f"{VECTORS:,} vectors: {seconds:.0f} s, {cpu_seconds:.0f} s of CPU, {peak_mb:.0f} MB at most")


def fill(client: Client) -> None:
    """Half of the vectors are images, half texts; every group has both."""
    random = np.random.default_rng(0)
    centres = random.normal(0, 1, (GROUPS, DIMENSION))
    gap = random.normal(0, 1, DIMENSION)
    client.create_collection(
        "many", dimension=DIMENSION, fingerprint="made up", payload_indexes={"kind": "keyword"}
    )
    for start in range(0, VECTORS // 2, _BATCH):
        points = []
        for number in range(start, start + _BATCH):
            group = int(random.integers(GROUPS))
            image, text = (
                centres[group] + random.normal(0, 0.8, DIMENSION) + side * gap for side in (0.5, -0.5)
            )
            payload = {"kind": f"kind {group % 12}", "title": f"item {number} of group {group}"}
            points.append(
                Point(
                    str(number),
                    image_vector=image.astype("f4"),
                    text_vector=text.astype("f4"),
                    payload=payload,
                )
            )
        failed = [result.error for result in client.upsert("many", points) if result.error]
        if failed:
            raise failed[0]


def run(address: str, out: Path) -> tuple[float, float, float]:
    """Seconds, seconds of CPU and peak memory, MB, of the command."""
    flags = ["--points", str(VECTORS), "--server", address, "--encoder", "127.0.0.1:9", "--out", str(out)]
    begun = time.perf_counter()
    process = subprocess.Popen(cli("map", "many", *flags))
    while True:
        done, status, usage = os.wait4(process.pid, os.WNOHANG)
        if done:
            break
        if time.perf_counter() - begun > _LIMIT_S:
            process.kill()
        time.sleep(0.2)
    if status:
        raise SystemExit(f"clipsearch map failed with status {status}")
    cpu_seconds = usage.ru_utime + usage.ru_stime
    return time.perf_counter() - begun, cpu_seconds, usage.ru_maxrss * 1024 / 1e6


if __name__ == "__main__":
    main()
