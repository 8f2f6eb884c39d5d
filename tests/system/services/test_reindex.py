"""A collection moves to another model while it is written, deleted from and searched; real processes."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clipsearch import Client, ClipSearchError, EncoderClient, Point, StoredPoint
from tests.metrics import sample
from tests.processes import cli, environment
from tests.toy_bundle import WORDS, build_toy
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

OLD, NEW, ALIAS = "shop-toy", "shop-starter", "shop"
POINTS = 360
FLIGHTS, BATCH = 2, 16  # of the backfill


@dataclass
class World:
    """Two encoders, a search service that knows both, and pictures cut from the sample photographs."""

    search: str
    starter: str
    new_encoder: Any
    pictures: list[Path]

    def command(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            cli(*words),
            env=environment(CLIPSEARCH_SERVER=self.search),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def pictures_encoded(self) -> int:
        """By the new model's encoder, since its start."""
        return int(sample(self.new_encoder.metrics(), "clipsearch_encoder_batch_items_sum", tower="image"))


@pytest.fixture(scope="module")
def world(service, starter_bundle, photos, tmp_path_factory) -> World:
    folder = tmp_path_factory.mktemp("reindex")
    build_toy(folder / "toy")
    toy = service("encoder", ENCODER_MODEL=str(folder / "toy")).start()
    starter = service(
        "encoder",
        ENCODER_MODEL=str(starter_bundle),
        ENCODER_METRICS_PORT="0",
        ENCODER_TEXT_CACHE_MB="0",
    ).start()
    search = service(
        "search",
        SEARCH_ENCODER=toy.address,
        SEARCH_SECOND_ENCODER=starter.address,
        SEARCH_DATA_DIR=str(folder / "data"),
    ).start()
    pictures = list(cuttings(photos, folder, POINTS))
    return World(search.address, starter.address, starter, pictures)


def cuttings(photos: list[Path], folder: Path, count: int) -> Iterator[Path]:
    """Small pieces of the photographs, no two alike."""
    random = np.random.default_rng(3)
    opened = [Image.open(photo).convert("RGB") for photo in photos]
    for n in range(count):
        photo = opened[n % len(opened)]
        left, top = (int(random.integers(0, side - 64)) for side in photo.size)
        path = folder / f"{n}.png"
        photo.crop((left, top, left + 64, top + 64)).save(path)
        yield path


def point(world: World, n: int, version: int = 0) -> Point:
    """Every third has a text too; a newer version has another picture and payload."""
    picture = world.pictures[(n + version) % POINTS]
    words = f"a {WORDS[5 + n % 4]} {version}" if n % 3 == 0 else None
    payload = {"path": str(picture), "n": n, "version": version}
    return Point(f"p{n}", image=picture, text=words, payload=payload | ({"text": words} if words else {}))


class Busy:
    """Something that goes on in a thread until the block ends; an error there fails the test.

    With `patient` a full encoder is none: that refuses writes whole, on a machine that is slow enough.
    """

    def __init__(
        self, work: Callable[[Client, int], None], address: str, pause_s: float, patient: bool = False
    ) -> None:
        self._work, self._address, self._pause_s = work, address, pause_s
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.patient = patient
        self.rounds = 0
        self.errors: list[Exception] = []

    def _run(self) -> None:
        with Client(self._address) as client:
            while not self._end.wait(self._pause_s):
                try:
                    self._work(client, self.rounds)
                except (ClipSearchError, AssertionError) as error:
                    if not (self.patient and getattr(error, "code", "") == "RESOURCE_EXHAUSTED"):
                        self.errors.append(error)
                self.rounds += 1

    def __enter__(self) -> Busy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


def everything(client: Client, collection: str) -> dict[str, StoredPoint]:
    return {p.id: p for p in client.list_points(collection, page_size=1000, with_vectors=True)}


def assert_alike(world: World) -> None:
    """Both collections hold the same points, the new one with what its encoder makes of them."""
    with Client(world.search) as client, EncoderClient(world.starter) as encoder:
        old, new = everything(client, OLD), everything(client, NEW)
        assert POINTS / 2 < len(old) < POINTS
        assert old.keys() == new.keys()
        assert {id: p.payload for id, p in old.items()} == {id: p.payload for id, p in new.items()}
        assert {id: p.has_text for id, p in old.items()} == {id: p.has_text for id, p in new.items()}
        for id in list(new)[:: max(1, len(new) // 40)]:
            kept = new[id]
            [picture] = encoder.encode_images([kept.payload["path"]])
            assert float(picture @ kept.image_vector) > 0.999
            if kept.has_text:
                [words] = encoder.encode_texts([kept.payload["text"]])
                assert float(words @ kept.text_vector) > 0.999


@pytest.mark.timeout(300)  # on a machine that is busy with other things
def test_a_move_under_load_that_is_killed_midway_loses_nothing_and_stops_nobody(world):
    with Client(world.search) as client:
        made = client.create_collection(OLD, payload_indexes={"n": "integer"}, model="toy", hnsw_m=24)
        client.update_alias(ALIAS, OLD)
        for first in range(0, POINTS - 40, 40):
            client.upsert(OLD, [point(world, n) for n in range(first, first + 40)])

        def write(client: Client, n: int) -> None:  # changes old points and adds new ones
            changed = point(world, n * 7 % 200, version=n + 1)
            added = point(world, POINTS - 40 + n % 40)
            results = client.upsert(ALIAS, [changed, added])
            assert [(r.error, r.successor_error) for r in results] == [(None, None)] * 2

        def delete(client: Client, n: int) -> None:
            if n % 2:
                client.delete_points(ALIAS, [f"p{200 + n % 60}"])
            else:
                client.delete_points(ALIAS, filter=[f"n={260 + n % 60}"])

        answers: list[str] = []

        def find(client: Client, n: int) -> None:
            found = client.search(ALIAS, "a red cat", limit=5)
            assert len(found) > 0, "a hit that is deleted while it is found is left out"
            answers.append(found.fingerprint)

        before = world.pictures_encoded()
        with (
            Busy(write, world.search, 0.05, patient=True) as writer,
            Busy(delete, world.search, 0.08) as deleter,
            Busy(find, world.search, 0.01) as searcher,
        ):
            move = ("reindex", ALIAS, "--model", "starter", "--json", "--yes", "--keep-old-current")
            move += ("--query", "a cat")
            killed = world.command(*move)
            wait_for_points(client, 4 * BATCH, killed)
            killed.send_signal(signal.SIGKILL)
            killed.communicate(timeout=60)
            halfway = client.count(NEW)
            assert halfway < client.count(OLD), "it was killed too late to show anything"
            assert client.get_collection(ALIAS).name == OLD

            resumed = world.command(*move)
            out, log = resumed.communicate(timeout=100)
            assert resumed.returncode == 0, log
            moved = client.get_collection(NEW).fingerprint
            wait_until(lambda: moved in answers[-20:])  # some searches after the swap

        for busy in (writer, deleter, searcher):
            assert busy.errors == []
            assert busy.rounds > 3
        assert set(answers) == {made.fingerprint, moved}

        report = json.loads(out)
        assert (report["old"], report["new"], report["swapped"]) == (OLD, NEW, True)
        assert report["resumed"]
        assert report["lacking"] == report["differing"] == []
        assert report["rollback"] == f"clipsearch collections alias {ALIAS} {OLD}"
        assert report["already"] >= halfway - deleter.rounds
        comparison = report["comparison"]
        assert 0 <= comparison["median_overlap_at_10"] <= 1
        asked = {query["query"] for query in comparison["queries"]}
        assert "a cat" in asked
        assert len(asked) > 40, "50 points are drawn, some may be deleted before they are asked for"
        alone = client.get_collection(NEW)
        assert (alone.aliases, alone.hnsw_m, alone.payload_indexes) == ((ALIAS,), 24, {"n": "integer"})

        # Nothing was encoded twice but what was in flight at the kill; each write was of two pictures.
        mirrored = 2 * writer.rounds
        renewed = report["renewed"] + report["removed"]
        encoded = world.pictures_encoded() - before
        assert encoded <= POINTS + FLIGHTS * BATCH + mirrored + renewed
    assert_alike(world)


def test_neither_points_that_lead_nowhere_nor_worse_answers_are_swapped_in(world, tmp_path):
    with Client(world.search) as client:
        client.create_collection("odd", model="toy")
        client.update_alias("odd-alias", "odd")
        vector = np.ones(client.get_collection("odd").dimension)
        gone = world.pictures[0].with_name("gone.png")
        client.upsert(
            "odd",
            [
                point(world, 0),
                Point("ready", image_vector=vector),
                Point("words", text="a cat", payload={"caption": "a cat"}),
                Point("gone", image=world.pictures[1], payload={"path": str(gone)}),
            ],
        )
        process = world.command("reindex", "odd-alias", "--model", "starter", "--json", "--yes")
        out, log = process.communicate(timeout=60)
        assert process.returncode == 1, log
        report = json.loads(out)
        kinds = {one["id"]: (one["kind"], one["reason"]) for one in report["lacking"]}
        assert kinds["ready"] == ("not re-encodable", "no path in its payload's field 'path'")
        assert kinds["words"] == ("not re-encodable", "no text in its payload's field 'text'")
        assert kinds["gone"] == ("failed", f"{gone}: No such file or directory")
        assert (report["swapped"], client.get_collection("odd-alias").name) == (False, "odd")
        assert "odd-starter is not complete" in log

        client.delete_points("odd", ["ready", "gone"])
        queries = tmp_path / "queries.jsonl"  # of two alike with two answers one is wrong at rank 1
        queries.write_text('{"text": "cat", "relevant": "words"}\n{"text": "cat ", "relevant": "p0"}\n')
        measured = ("--text-field", "caption", "--alias", "odd-alias", "--eval", str(queries), "--yes")
        worse = world.command(
            "reindex", "odd", "--model", "starter", *measured, "--fail-below", "recall@1=0.9", "--json"
        )
        out, log = worse.communicate(timeout=60)
        assert worse.returncode == 1, log
        report = json.loads(out)
        assert (report["swapped"], client.get_collection("odd-alias").name) == (False, "odd")
        assert report["evaluation"]["below"][0].startswith("odd-starter, exact: recall@1 0.")
        assert {row["collection"] for row in report["evaluation"]["rows"]} == {"odd", "odd-starter"}
        assert "odd-starter finds less than was asked" in log

        again = world.command(
            "reindex",
            "odd",
            "--model",
            "starter",
            *measured,
            "--fail-below",
            "recall@10=1",
            "--keep-old-current",
        )
        out, log = again.communicate(timeout=60)
        assert again.returncode == 0, log
        assert "to go back: clipsearch collections alias odd-alias odd" in log
        assert client.get_collection("odd-alias").name == "odd-starter"
        client.upsert("odd-alias", [Point("since", text="a dog")])
        assert client.get_points("odd", ["since"], payload=False)[0].has_text
        done = world.command("reindex", "odd", "--model", "starter", "--yes")
        assert "is in use" in done.communicate(timeout=60)[1]


def test_a_collection_under_its_own_name_is_filled_and_told_to_get_an_alias(world):
    with Client(world.search) as client:
        client.create_collection("plain", model="toy")
        client.upsert("plain", [point(world, n) for n in range(3)])
        process = world.command("reindex", "plain", "--model", "starter", "--to", "better", "--yes")
        out, log = process.communicate(timeout=60)
        assert process.returncode == 0, log
        assert "median overlap@10" in out
        assert "let them use an alias" in log
        assert client.count("better") == 3
        assert client.get_collection("plain").successor == "better"
        world.command("collections", "successor", "plain", "--remove").communicate(timeout=60)
        assert client.get_collection("plain").successor == ""
        same = world.command("reindex", "better", "--model", "starter")
        assert "is of the model starter" in same.communicate(timeout=60)[1]
        unknown = world.command("reindex", "better", "--model", "nobody's")
        assert "no model of the encoders" in unknown.communicate(timeout=60)[1]


def wait_for_points(client: Client, count: int, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 120
    while True:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        names = {found.name for found in client.list_collections()}
        if NEW in names and client.count(NEW) >= count:
            return
        time.sleep(0.005)
