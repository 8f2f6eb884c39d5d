"""Three nodes and two search services: an alias moves, a model changes, nodes restart and go."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
import pytest

from clipsearch import Client, ClipSearchError, Point
from clipsearch.batches import batched
from tests.processes import SMALL_ENCODER, cli, clipsearch, environment
from tests.qdrant.conftest import DIMENSION, vectors
from tests.qdrant_nodes import all_active
from tests.toy_bundle import WORDS, build_toy
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(300)
FRESH_S = 1.0  # for how long a service may go by what it has read


class Busy:
    """A call that is made again and again in a thread; `failed` has what became of those that failed."""

    def __init__(self, address: str, call: Callable[[Client, int], object]) -> None:
        self._address, self._call = address, call
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.answers: list[tuple[float, object]] = []  # with when the call began
        self.failed: list[str] = []
        self.broken: BaseException | None = None

    def _run(self) -> None:
        try:
            self._repeat()
        except BaseException as error:
            self.broken = error

    def _repeat(self) -> None:
        with Client(self._address, timeout=10) as client:
            while not self._end.is_set():
                begun = time.monotonic()
                try:
                    self.answers.append((begun, self._call(client, len(self.answers))))
                except ClipSearchError as error:
                    self.failed.append(f"{error.code} {error.reason}: {error.message}")

    def __enter__(self) -> Busy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(60)
        assert not self._thread.is_alive()
        if self.broken is not None:
            raise self.broken


def test_an_alias_moves_and_its_old_collection_goes_while_two_services_search_and_write(three, client_on):
    clients = [client_on(three) for _ in range(2)]
    made = vectors(50)
    for name in ("old", "new"):
        clients[0].create_collection(name, dimension=DIMENSION, fingerprint="f" * 32)
        points = [Point(f"p{n}", image_vector=made[n], payload={"from": name}) for n in range(50)]
        clients[0].upsert(name, points)
    clients[0].update_alias("shop", "old")

    def search(client: Client, n: int) -> object:
        return {hit.payload.get("from", "-") for hit in client.search("shop", vector=made[n % 50], limit=10)}

    def write(client: Client, n: int) -> object:
        return client.upsert("shop", [Point(f"w{n}", image_vector=made[n % 50])])[0].error

    busy = [Busy(client.address, call) for client in clients for call in (search, write)]
    with ExitStack() as stack:
        for one in busy:
            stack.enter_context(one)
        wait_until(lambda: all(len(one.answers) > 20 for one in busy))
        clients[0].update_alias("shop", "new")
        moved = time.monotonic()
        clients[0].delete_collection("old")
        wait_until(lambda: all(one.answers[-1][0] > moved + FRESH_S + 0.5 for one in busy))
    assert [one.failed for one in busy] == [[], [], [], []]
    assert {error for one in busy[1::2] for _, error in one.answers} == {None}
    late = [found for one in busy[::2] for begun, found in one.answers if begun > moved + FRESH_S]
    assert late
    assert not any("old" in found for found in late)


def test_a_move_to_another_model_loses_no_write_of_two_services(three, service, search_on, encoder, tmp_path):
    build_toy(tmp_path / "toy")
    toy = service("encoder", ENCODER_MODEL=str(tmp_path / "toy"), **SMALL_ENCODER).start()
    settings = {"SEARCH_ENCODER": toy.address, "SEARCH_SECOND_ENCODER": encoder.address}
    services = [search_on(three, **settings) for _ in range(2)]
    with Client(services[0].address) as client:
        client.create_collection("move-toy", model="toy")
        client.update_alias("move", "move-toy")

        def text(id: str, version: int) -> Point:
            words = f"a {WORDS[5 + version % 4]} {version}"
            return Point(id, text=words, payload={"text": words, "version": version})

        client.upsert("move", [text(f"p{n}", 0) for n in range(200)])
        client.search("move", "a cat")

        def writes(who: int) -> Callable[[Client, int], object]:
            def write(client: Client, n: int) -> object:
                [result] = client.upsert("move", [text(f"p{who + 2 * (n % 100)}", n + 1)])
                return result.error or result.successor_error

            return write

        busy = [Busy(one.address, writes(who)) for who, one in enumerate(services)]
        busy += [Busy(one.address, lambda client, n: len(client.search("move", "a cat"))) for one in services]
        with ExitStack() as stack:
            for one in busy:
                stack.enter_context(one)
            words = ("reindex", "move", "--model", "starter", "--json", "--yes")
            done = clipsearch(*words, CLIPSEARCH_SERVER=services[1].address)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["swapped"]
        assert [one.failed for one in busy] == [[], [], [], []]
        assert all(one.answers for one in busy)
        assert {error for one in busy[:2] for _, error in one.answers} == {None}
        # Of the one that moved the alias: the other may not know for a second.
        with Client(services[1].address) as after:
            found = {point.id: int(point.payload["version"]) for point in after.list_points("move")}
        written = {f"p{n}": 0 for n in range(200)}
        for who, one in enumerate(busy[:2]):
            for n in range(len(one.answers)):
                written[f"p{who + 2 * (n % 100)}"] = n + 1
        assert found == written


def test_values_are_counted_exactly_over_shards_of_several_nodes(three, client_on):
    client = client_on(three)
    layout = {"shard_number": 3, "payload_indexes": {"v": "integer"}}
    client.create_collection("facets", dimension=DIMENSION, fingerprint="f" * 32, **layout)
    # More values than a node tells another when 1,000 are asked for; of equals it leaves out the largest.
    values = [n % 875 for n in range(3500)] + [1000 + n % 500 for n in range(2500)]
    made = vectors(len(values))
    points = [Point(f"p{n}", image_vector=made[n], payload={"v": v}) for n, v in enumerate(values)]
    for part in batched(points, 250):
        client.upsert("facets", part)
    hits = client.facet("facets", "v", limit=1000, exact=True)
    frequent = sorted(Counter(values).items(), key=lambda one: (-one[1], one[0]))
    assert [(hit.value, hit.count) for hit in hits] == frequent[:1000]


def test_bulk_loads_go_on_through_a_rolling_restart(three, search_on, tmp_path):
    services = [search_on(three) for _ in range(2)]
    target = "ipv4:" + ",".join(one.address for one in services)
    each, rolled = 20_000, threading.Event()
    vectors_file, ids_file = tmp_path / "vectors.npy", tmp_path / "ids.txt"
    np.save(vectors_file, vectors(each))

    def load() -> int:
        """Loads until the last node is back; returns how many points."""
        for loads in itertools.count():
            if rolled.is_set():
                return loads * each
            ids_file.write_text("".join(f"b{loads}-{n}\n" for n in range(each)))
            done = subprocess.run(
                cli("index", str(vectors_file), "--ids", str(ids_file), "--side", "image", "-c", "rolling"),
                env=environment(CLIPSEARCH_SERVER=target),
                capture_output=True,
                text=True,
                check=False,
                timeout=200,
            )
            assert done.returncode == 0, done.stdout + done.stderr
        raise AssertionError("count() has no end")

    with Client(services[0].address) as client, ThreadPoolExecutor() as pool:
        client.create_collection("rolling", dimension=DIMENSION, fingerprint="f" * 32)
        loading = pool.submit(load)
        try:
            wait_until(lambda: loading.done() or client.count("rolling") > 0)
            for node in three.all:
                node.stop(signal.SIGTERM)
                node.start()
                wait_until(lambda: all(all_active(node) for node in three.all))
        finally:
            rolled.set()
        total = loading.result()
        assert client.count("rolling") == total


def test_with_two_of_three_nodes_gone_three_copies_are_read_and_written(make_nodes, client_on):
    nodes = make_nodes(3)
    client = client_on(nodes)
    layout = {"shard_number": 2, "replication_factor": 3, "write_consistency_factor": 1}
    client.create_collection("copies", dimension=DIMENSION, fingerprint="f" * 32, **layout)
    made = vectors(20)
    client.upsert("copies", [Point(f"p{n}", image_vector=made[n]) for n in range(10)])
    for node in nodes.all[1:]:
        node.stop(signal.SIGKILL)
    assert client.count("copies") == 10
    assert client.search("copies", vector=made[0], limit=1)[0].id == "p0"
    # Which copies are behind cannot be agreed on by one node of three: written, but not as promised.
    with pytest.raises(ClipSearchError) as caught, Client(client.address, timeout=10) as hurried:
        hurried.create_collection("later", dimension=DIMENSION, fingerprint="f" * 32)
    assert caught.value.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED")
    for node in nodes.all[1:]:
        node.start()
    wait_until(lambda: all(all_active(node) for node in nodes.all))
    client.upsert("copies", [Point(f"p{n}", image_vector=made[n]) for n in range(20)])
    assert client.count("copies") == 20
