"""What operators do to a Qdrant server: back up, restore, keys, TLS, strict mode; and what its disk does."""

from __future__ import annotations

import urllib.request
import uuid

import pytest
import trustme

from clipsearch import ClipSearchError, Point
from clipsearch.channel.credentials import ClientTls
from clipsearch.serving.errors import Unavailable
from tests.qdrant.conftest import DIMENSION, connect, vectors
from tests.qdrant_nodes import Node, SmallDisk, all_active
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection:UserWarning"),
]
MADE = {"dimension": DIMENSION, "fingerprint": "f" * 32}
PHOTOS = "photos"


def fill(client, name: str, count: int = 200, **layout) -> None:
    client.create_collection(name, **MADE, **layout)
    made = vectors(count)
    points = [
        Point(f"p{n}", image_vector=made[n], text_vector=made[-n], payload={"n": n}) for n in range(count)
    ]
    client.upsert(name, points)


def answers(client, name: str) -> list:
    return [
        [(hit.id, hit.payload["n"]) for hit in client.search(name, vector=one, limit=5)]
        for one in vectors(10, seed=1)
    ]


def upload(node: Node, collection: str, snapshot: bytes) -> None:
    """As `curl -F snapshot=@FILE` does."""
    line = uuid.uuid4().hex
    head = f'--{line}\r\nContent-Disposition: form-data; name="snapshot"; filename="s"\r\n\r\n'.encode()
    url = f"http://{node.host}:{node.http}/collections/{collection}/snapshots/upload?priority=snapshot&wait=true"
    data = head + snapshot + f"\r\n--{line}--\r\n".encode()
    request = urllib.request.Request(
        url, data, {"Content-Type": f"multipart/form-data; boundary={line}"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("count", [1, 3])
def test_what_was_backed_up_comes_back_as_the_readme_says(make_nodes, client_on, count):
    nodes = make_nodes(count, STORAGE__COLLECTION__REPLICATION_FACTOR="2")
    client = client_on(nodes)
    fill(client, PHOTOS)
    client.update_alias("pictures", PHOTOS)
    before = answers(client, "pictures")
    kept = {}
    for node in nodes.all:
        name = node.rest(f"/collections/{PHOTOS}/snapshots?wait=true", "POST", {})["name"]
        url = f"http://{node.host}:{node.http}/collections/{PHOTOS}/snapshots/{name}"
        kept[node] = urllib.request.urlopen(url, timeout=60).read()
    aliases = nodes.all[0].rest("/aliases")["aliases"]
    client.delete_collection(PHOTOS)
    for node, snapshot in kept.items():
        upload(node, PHOTOS, snapshot)
        wait_until(lambda: all(all_active(node) for node in nodes.all))  # else some copies stay empty
    for alias in aliases:
        client.update_alias(alias["alias_name"], alias["collection_name"])
    for node in nodes.all:
        copies = node.rest(f"/collections/{PHOTOS}/cluster")["local_shards"]
        assert all(copy["points_count"] for copy in copies)
    assert client.count("pictures") == 200
    assert answers(client, "pictures") == before
    found = client.get_collection("pictures")
    assert (found.name, found.fingerprint, found.image_vectors) == (PHOTOS, MADE["fingerprint"], 200)


def test_a_full_disk_refuses_writes_and_serves_searches(binary, tmp_path, make_nodes, client_on):
    try:
        disk = SmallDisk(tmp_path / "nodes0" / "127.0.0.11" / "storage", 700)
    except PermissionError as error:
        pytest.skip(str(error))
    try:
        client = client_on(make_nodes(1))
        fill(client, PHOTOS)
        before = answers(client, PHOTOS)
        with disk.full():
            refusals: list[ClipSearchError] = []

            def refused() -> bool:  # the server looks at its disk every few seconds
                try:
                    client.upsert(PHOTOS, [Point("late", image_vector=vectors(1)[0])])
                except ClipSearchError as error:
                    refusals.append(error)
                return bool(refusals)

            wait_until(refused)
            assert (refusals[0].code, refusals[0].reason) == ("RESOURCE_EXHAUSTED", "STORE_DISK_FULL")
            assert answers(client, PHOTOS) == before
        client.upsert(PHOTOS, [Point("late", image_vector=vectors(1)[0])])
        assert client.count(PHOTOS) == 201
    finally:
        disk.close()


def test_strict_mode_leaves_what_a_service_does_by_itself(make_nodes, client_on):
    nodes = make_nodes(1)
    client = client_on(nodes)
    fill(client, PHOTOS)
    strict = {"enabled": True, "search_allow_exact": False, "max_timeout": 10, "max_query_limit": 50}
    nodes.all[0].rest(f"/collections/{PHOTOS}", "PATCH", {"strict_mode_config": strict})

    def known() -> bool:  # within a second
        try:
            return client.delete_points(PHOTOS, ["p0"]) is not None and client.count(PHOTOS) == 199
        except ClipSearchError:
            return False

    wait_until(known)
    assert client.get_collection(PHOTOS).points == 199
    assert [found.points for found in client.list_collections()] == [199]
    assert len(client.search(PHOTOS, vector=vectors(1)[0], limit=10)) == 10
    assert len(list(client.list_points(PHOTOS))) == 199
    assert client.delete_points(PHOTOS, filter=["n=1"]) == 1
    with pytest.raises(ClipSearchError) as caught:
        client.search(PHOTOS, vector=vectors(1)[0], target="image", limit=60)
    assert (caught.value.code, caught.value.reason) == ("INVALID_ARGUMENT", "STORE_REFUSED")
    assert "50" in caught.value.message


async def test_keys_open_what_they_are_for(make_nodes):
    nodes = make_nodes(1, SERVICE__API_KEY="all", SERVICE__READ_ONLY_API_KEY="look")
    from tests.contract.shop import ITEMS, spec

    owner, reader, stranger = (connect(nodes, key) for key in ("all", "look", "wrong"))
    made = spec()
    await owner.create_collection(made)
    await owner.upsert(made.name, ITEMS)
    assert await reader.count(made.name) == len(ITEMS)
    for call in (
        lambda: reader.upsert(made.name, ITEMS),
        lambda: reader.delete_collection(made.name),
        lambda: stranger.count(made.name),
        stranger.list_collections,
    ):
        with pytest.raises(Unavailable, match="the store refuses this service's API key"):
            await call()
    for store in (owner, reader, stranger):
        await store.close()


async def test_tls_is_spoken_with_whom_it_should_be(make_nodes, tmp_path):
    ca, other = trustme.CA(), trustme.CA()
    issued = ca.issue_cert("127.0.0.11")
    files = {name: tmp_path / name for name in ("cert", "key", "ca", "other")}
    issued.cert_chain_pems[0].write_to_path(files["cert"])
    issued.private_key_pem.write_to_path(files["key"])
    ca.cert_pem.write_to_path(files["ca"])
    other.cert_pem.write_to_path(files["other"])
    settings = {f"TLS__{name.upper()}": str(files[name]) for name in ("cert", "key")}
    nodes = make_nodes(1, SERVICE__ENABLE_TLS="true", TLS__CA_CERT=str(files["ca"]), **settings)
    store = connect(nodes, tls=ClientTls(files["ca"]))
    await store.ping()
    await store.close()
    for url, tls, said in (
        (nodes.url, ClientTls(files["ca"], server_name="qdrant.internal"), "is for another name"),
        (nodes.url, ClientTls(files["other"]), "not signed by a trusted CA"),
        (nodes.url, None, "not signed by a trusted CA"),
        (nodes.url.replace("https", "http"), None, "cannot be reached"),
    ):
        nodes.url = url
        store = connect(nodes, tls=tls)
        with pytest.raises(Unavailable, match=said):
            await store.ping()
        await store.close()
