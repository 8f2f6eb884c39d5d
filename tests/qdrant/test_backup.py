"""Backups between Qdrant Edge and a Qdrant server, in both directions, through services."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from clipsearch import Client, Point
from tests.processes import clipsearch
from tests.qdrant.conftest import DIMENSION
from tests.unit.clipsearch.backup.conftest import ODD

pytestmark = pytest.mark.timeout(300)


def everything(client: Client, name: str) -> dict:
    return {
        point.id: (
            json.dumps(point.payload, sort_keys=True),
            *(None if v is None else v.tobytes() for v in (point.image_vector, point.text_vector)),
        )
        for point in client.list_points(name, page_size=1000, with_vectors=True)
    }


def test_what_goes_from_edge_to_a_cluster_and_back_is_what_it_was(
    make_nodes, client_on, service, tmp_path: Path
):
    edge = service("search", SEARCH_ENCODER="127.0.0.1:1", SEARCH_DATA_DIR=str(tmp_path / "data")).start()
    cluster = client_on(make_nodes(3, STORAGE__COLLECTION__REPLICATION_FACTOR="2"))
    random = np.random.default_rng(0)
    with Client(edge.address) as client:
        space = {"dimension": DIMENSION, "fingerprint": "f" * 32, "model": "toy"}
        client.create_collection("shop", payload_indexes={"n": "integer"}, quantization="scalar", **space)
        client.update_alias("goods", "shop")
        for first in range(0, 1000, 200):  # vectors of any length
            vectors = random.standard_normal((200, 2, DIMENSION)).astype(np.float32) * 10
            client.upsert(
                "shop",
                [
                    Point(f"p{first + n}", image_vector=one, text_vector=two, payload={**ODD, "n": first + n})
                    for n, (one, two) in enumerate(vectors)
                ],
            )
        before = everything(client, "shop")
        assert len(before) == 1000

        def command(*words: str, address: str) -> dict:
            done = clipsearch(*words, "--json", CLIPSEARCH_SERVER=address)
            assert done.returncode == 0, done.stderr
            return json.loads(done.stdout)

        command("backup", "goods", str(tmp_path / "out.tar"), address=edge.address)
        command("restore", str(tmp_path / "out.tar"), address=cluster.address)
        assert everything(cluster, "goods") == before
        there = cluster.get_collection("shop")
        assert (there.model, there.payload_indexes, there.quantization) == ("toy", {"n": "integer"}, "scalar")
        assert there.replication_factor == 2, "the cluster's own, where the backup says 1"

        command("backup", "shop", str(tmp_path / "back"), address=cluster.address)
        told = command("restore", str(tmp_path / "back"), "--to", "again", address=edge.address)
        assert (told["without_cluster"], told["taken"]) == (True, {"goods": "shop"})
        assert everything(client, "again") == before
        again = client.get_collection("again")
        assert (again.fingerprint, again.model, again.payload_indexes) == ("f" * 32, "toy", {"n": "integer"})
