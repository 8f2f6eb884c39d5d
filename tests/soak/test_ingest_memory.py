"""Loading many vectors takes the client no more memory than loading few."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np

from clipsearch import Client
from tests.soak.share import limit, share_of

pytestmark = limit

VECTORS = share_of(1_000_000, least=30_000)
DIMENSION = 64
BLOCK = 10_000
GROWTH_MB = 12.0  # an item takes 1 kB: half of 30,000 that were kept would show

LOADER = """
import json, sys
from pathlib import Path
from clipsearch.ingest import VectorFile, ingest

seen = []

def resident(progress):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            seen.append((progress.done, int(line.split()[1]) * 1024 / 1e6))

address, vectors, ids = sys.argv[1:]
report = ingest(address, "many", VectorFile(vectors, ids=ids), on_progress=resident)
early = max(mb for done, mb in seen if done <= report.total // 10 or (done, mb) == seen[0])
peak = max(mb for _, mb in seen)
print(json.dumps({"indexed": report.indexed, "early_mb": early, "peak_mb": peak}))
"""


def test_memory_does_not_grow_with_what_is_loaded(search, tmp_path):
    chance = np.random.default_rng(0)
    vectors = np.lib.format.open_memmap(tmp_path / "v.npy", "w+", np.float32, (VECTORS, DIMENSION))
    for first in range(0, VECTORS, BLOCK):
        block = vectors[first : first + BLOCK]
        block[:] = chance.standard_normal(block.shape, dtype=np.float32)
    vectors.flush()
    (tmp_path / "ids.txt").write_text("".join(f"vector-{n}\n" for n in range(VECTORS)))
    with Client(search.address) as client:
        client.create_collection("many", dimension=DIMENSION, fingerprint="of no model")
        command = [sys.executable, "-c", LOADER, search.address, tmp_path / "v.npy", tmp_path / "ids.txt"]
        loaded = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=3600)
        told = json.loads(loaded.stdout)
        assert client.count("many") == told["indexed"] == VECTORS
        middle = client.get_points("many", [f"vector-{VECTORS // 2}"], with_vectors=True)[0].image_vector
        client.delete_collection("many")
    stored = vectors[VECTORS // 2] / np.linalg.norm(vectors[VECTORS // 2])
    assert np.allclose(middle, stored, atol=1e-5)
    assert told["peak_mb"] - told["early_mb"] < GROWTH_MB
