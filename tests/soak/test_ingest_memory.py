"""Loading many vectors takes the client no more memory than loading few.

VECTORS=1000000 (`make load-million`) loads that many; without it a short share runs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from clipsearch import Client

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

VECTORS = int(os.environ.get("VECTORS", "30000"))
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
print(json.dumps({
    "indexed": report.indexed, "seconds": report.elapsed_s,
    "early_mb": early, "peak_mb": max(mb for _, mb in seen),
}))
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
        loaded = subprocess.run(
            [
                sys.executable,
                "-c",
                LOADER,
                search.address,
                str(tmp_path / "v.npy"),
                str(tmp_path / "ids.txt"),
            ],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=800,
        )
        told = json.loads(loaded.stdout)
        assert client.count("many") == told["indexed"] == VECTORS
        middle = client.get_points("many", [f"vector-{VECTORS // 2}"], with_vectors=True)[0].image_vector
        client.delete_collection("many")
    print(
        f"{VECTORS} vectors of {DIMENSION}: {VECTORS / told['seconds']:.0f} a second; "
        f"the client had {told['early_mb']:.1f} MB after a tenth, at most {told['peak_mb']:.1f} MB"
    )
    stored = vectors[VECTORS // 2] / np.linalg.norm(vectors[VECTORS // 2])
    assert np.allclose(middle, stored, atol=1e-5)
    assert told["peak_mb"] - told["early_mb"] < GROWTH_MB
