"""A loader that is killed again and again: what is there in the end, and what was encoded twice.

SEED chooses the moments.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from clipsearch import Client
from clipsearch.ingest import ItemList, ingest
from tests.metrics import sample
from tests.soak.share import limit, share_of

pytestmark = limit

KILLS = share_of(20, least=1)
SEED = int(os.environ.get("SEED", "0"))
ROWS_A_KILL = 120
POINTS, FLIGHTS = 8, 4  # what one kill may waste: the points of the calls in flight

LOADER = f"""
# It kills itself: on a busy machine another process could see too late how far it is.
import os, signal, sys, threading, time
from clipsearch.ingest import FlowLimits, IngestOptions, ItemList, ingest
flow = FlowLimits(most_points={POINTS}, first_flights={FLIGHTS}, most_flights={FLIGHTS})
address, rows, moment, delay, *checkpoint = sys.argv[1:]
killing = threading.Timer(float(delay), os.kill, (os.getpid(), signal.SIGKILL))

def loaded(progress):
    if progress.indexed + progress.already >= int(moment) and not killing.is_alive():
        killing.start()

ingest(
    address, "killed", ItemList(rows), on_progress=loaded,
    checkpoint=checkpoint[0] if checkpoint else None, options=IngestOptions(flow),
)
killing.join()
time.sleep(60)
"""


@pytest.fixture(scope="module")
def counting_encoder(service, starter_bundle):
    """An encoder without a cache, so that what is encoded twice is counted twice."""
    return service(
        "encoder",
        ENCODER_MODEL=str(starter_bundle),
        ENCODER_METRICS_PORT="0",
        ENCODER_LOG_FORMAT="json",
        ENCODER_TEXT_CACHE_MB="0",
    ).start()


def encoded(encoder) -> int:
    """Images and texts that went through the sessions until now."""
    page = encoder.metrics()
    return sum(int(sample(page, "clipsearch_encoder_batch_items_sum", tower=t)) for t in ("image", "text"))


def write_rows(folder: Path, count: int, *, with_ids: bool) -> Path:
    """A list of which every fourth row is an image, the others texts; all different."""
    rows = []
    for number in range(count):
        row: dict[str, object] = {"number": number}
        if with_ids:
            row["id"] = f"row-{number}"
        if number % 4 == 0:
            colour = (number % 256, number // 256 % 256, 99)
            Image.new("RGB", (48, 48), colour).save(folder / f"{number}.png")
            row["path"] = f"{number}.png"
        else:
            row["text"] = f"thing number {number}"
        rows.append(json.dumps(row) + "\n")
    (folder / "rows.jsonl").write_text("".join(rows))
    return folder / "rows.jsonl"


@pytest.mark.parametrize("known_by", ["ids", "content", "ids and a checkpoint"])
def test_killed_at_random_points_it_ends_with_every_point_once(service, counting_encoder, tmp_path, known_by):
    search = service(
        "search", SEARCH_ENCODER=counting_encoder.address, SEARCH_DATA_DIR=str(tmp_path / "data")
    ).start()
    count = (KILLS + 1) * ROWS_A_KILL
    rows = write_rows(tmp_path, count, with_ids=known_by != "content")
    checkpoint = [str(tmp_path / "checkpoint.json")] if "checkpoint" in known_by else []
    chance = random.Random(f"{SEED} {known_by}")
    moments = sorted(chance.randrange(count // 2) for _ in range(KILLS))
    with Client(search.address) as client:
        client.create_collection("killed")
        before = encoded(counting_encoder)
        for moment in moments:
            when = [str(moment), str(chance.uniform(0, 0.1))]
            words = [sys.executable, "-c", LOADER, search.address, str(rows), *when, *checkpoint]
            assert subprocess.run(words, timeout=100, check=False).returncode == -signal.SIGKILL
        report = ingest(
            search.address, "killed", ItemList(rows), checkpoint=checkpoint[0] if checkpoint else None
        )
        numbers = sorted(point.payload["number"] for point in client.list_points("killed", page_size=1000))
        collection = client.get_collection("killed")
    twice = encoded(counting_encoder) - before - count
    assert numbers == list(range(count))
    assert report.indexed + report.already == count
    assert (report.failed, collection.points) == (0, count)
    assert (collection.image_vectors, collection.text_vectors) == (-(-count // 4), count - -(-count // 4))
    assert 0 <= twice <= KILLS * POINTS * FLIGHTS
    search.stop()
