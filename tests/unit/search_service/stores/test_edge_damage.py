"""A damaged collection hurts nobody else: the others work, and it is told, refused and can be deleted."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import json
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from clipsearch.serving.errors import AlreadyExists, CollectionDamaged, FailedPrecondition, NotFound
from search_service.collections import Collections
from search_service.metrics import SearchMetrics
from search_service.stores.collection import CollectionSpec
from search_service.stores.edge.damage import Damaged, sound
from search_service.stores.edge.indexing import MaintenancePolicy
from search_service.stores.edge.process import EngineProcess
from search_service.stores.edge.store import QdrantEdge
from search_service.stores.protocol import StoredPoint
from search_service.write.successors import Successors
from tests.waiting import until

pytestmark = pytest.mark.slow  # opens a store for each kind of damage


def points(count: int) -> list[StoredPoint]:
    return [StoredPoint(f"p{n}", {"n": n}, image=np.eye(8, dtype=np.float32)[n]) for n in range(count)]


WELL = CollectionSpec("well", 8, "f")
SHOP = CollectionSpec("shop", 8, "f")
CONFIG = "shard.1/edge_config.json"


@pytest.fixture(scope="module")
def pristine(tmp_path_factory) -> Path:
    """A data directory with the collections `well` and `shop`, an alias of each, three points in each."""
    root: Path = tmp_path_factory.mktemp("pristine") / "data"

    async def fill() -> None:
        store = await QdrantEdge.open(root)
        for spec in (WELL, SHOP):
            await store.create_collection(spec)
            await store.upsert(spec.name, points(3))
            await store.set_alias(f"the-{spec.name}", spec.name)
        await store.close()

    asyncio.run(fill())
    return root


def changed(**settings: object) -> Callable[[Path], None]:
    def change(shop: Path) -> None:
        kept = json.loads((shop / "collection.json").read_text())
        (shop / "collection.json").write_text(json.dumps({**kept, **settings}))

    return change


def written(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda shop: (shop / name).write_bytes(content) and None


def folder_instead(name: str) -> Callable[[Path], None]:
    def change(shop: Path) -> None:
        (shop / name).unlink()
        (shop / name).mkdir()

    return change


def file_instead(shop: Path) -> None:
    shutil.rmtree(shop)
    shop.write_text("x")


def segments_gone(shop: Path) -> None:
    for segment in (shop / "shard.1" / "segments").iterdir():
        (segment / "segment.json").write_bytes(b"")


def gone(name: str) -> Callable[[Path], None]:
    """Of each segment."""

    def change(shop: Path) -> None:
        for path in (shop / "shard.1" / "segments").glob(f"*/{name}"):
            path.unlink()

    return change


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty settings": (written("collection.json", b""), "shop/collection.json: invalid json"),
    "settings that are a list": (
        written("collection.json", b"[1]"),
        "shop/collection.json: input should be an object",
    ),
    "settings without all": (written("collection.json", b"{}"), "shop/collection.json: name: "),
    "no settings": (lambda shop: (shop / "collection.json").unlink(), "shop/collection.json cannot be read"),
    "a folder of settings": (folder_instead("collection.json"), "shop/collection.json cannot be read"),
    "a dimension of words": (changed(dimension="eight"), "shop/collection.json: dimension: "),
    "no dimension": (changed(dimension=0), "shop/collection.json: dimension: 0"),
    "another quantization": (changed(quantization="gzip"), "shop/collection.json: quantization: "),
    "an index of no type": (changed(payload_indexes={"a": "b"}), "shop/collection.json: payload_indexes.a"),
    "a setting of later": (changed(colour="red"), "does not know: 'colour'"),
    "a parameter of later": (changed(quantization_params={"x": 1}), "does not know: 'x'"),
    "another's settings": (changed(name="well"), "shop/collection.json is that of collection 'well'"),
    "empty current": (written("current", b""), "shop/current names no shard"),
    "current of elsewhere": (written("current", b"../well/shard.1"), "shop/current names no shard"),
    "no current": (lambda shop: (shop / "current").unlink(), "shop/current cannot be read"),
    "no shard": (lambda shop: shutil.rmtree(shop / "shard.1"), "shop/shard.1, the shard in use, is missing"),
    "engine's settings cut off": (written(CONFIG, b'{"vectors":'), "shard.1/edge_config.json: invalid json"),
    "engine's settings of another shape": (
        written(CONFIG, b'{"vectors": 5}'),
        "shop/shard.1 cannot be opened",
    ),
    "segments that are not said to be whole": (gone("version.info"), "/version.info is missing"),
    "broken segments": (segments_gone, "shop/shard.1 cannot be opened"),
    "a file in its place": (file_instead, "collections/shop is a file, not a folder"),
}


BY_THE_ENGINE = {"engine's settings of another shape", "broken segments"}
"""Seen only by the engine, when it opens the files."""


@pytest.fixture
def root(pristine, tmp_path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copytree(pristine, tmp_path / "data"))


@pytest.mark.parametrize("kind", sorted(DAMAGES.keys() - BY_THE_ENGINE))
def test_what_is_wrong_is_told_with_its_place(root, kind):
    damage, said = DAMAGES[kind]
    damage(root / "collections" / "shop")
    with pytest.raises(Damaged, match=r"^collections/shop") as caught:
        sound(root / "collections" / "shop")
    assert said in str(caught.value)


@pytest.mark.parametrize("lost", ["version.info", "id_tracker.versions", "vector_storage-image/matrix.dat"])
async def test_an_indexed_segment_that_lacks_a_file_is_told(tmp_path, lost):
    many = [
        StoredPoint(f"p{n}", {}, image=vector / np.linalg.norm(vector))
        for n, vector in enumerate(np.random.default_rng(1).normal(size=(300, 8)).astype(np.float32))
    ]
    async with closing_store(tmp_path, MaintenancePolicy(index_threshold=100, quiet_s=0.01)) as store:
        await store.create_collection(SHOP)
        await store.upsert("shop", many)
        while (await store.get_collection("shop")).indexed_share < 1:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)
    shop = tmp_path / "collections" / "shop"
    segments = shop / sound(shop)[1] / "segments"
    [file] = [path for path in segments.glob(f"*/{lost}") if (path.parents[lost.count("/")] / BUILT).exists()]
    file.unlink()
    with pytest.raises(Damaged, match=f"{lost} is missing, and with it points of the segment"):
        sound(shop)


BUILT = "id_tracker.mappings"


@asynccontextmanager
async def closing_store(
    root: Path, policy: MaintenancePolicy = MaintenancePolicy()
) -> AsyncIterator[QdrantEdge]:
    store = await QdrantEdge.open(root, policy)
    try:
        yield store
    finally:
        await store.close()


async def test_segments_without_points_are_sound(tmp_path):
    async with closing_store(tmp_path) as store:
        for spec in (SHOP, WELL):
            await store.create_collection(spec)
        await store.create_payload_index("shop", "k", "keyword")
        await store.upsert("well", points(1))
        await store.delete("well", ["p0"])
    for spec in (SHOP, WELL):
        assert sound(tmp_path / "collections" / spec.name)[0].name == spec.name


async def test_a_segment_that_the_engine_was_removing_when_it_was_killed_is_no_damage(root):
    segments = root / "collections" / "shop" / "shard.1" / "segments"
    [segment] = segments.iterdir()
    left = Path(shutil.copytree(segment, segment.with_suffix(".deleted")))
    (left / "version.info").unlink()
    async with closing_store(root) as store:
        assert await store.count("shop") == 3
    assert list(segments.iterdir()) == [segment]


def test_what_is_sound_is(root):
    assert sound(root / "collections" / "shop") == (SHOP, "shard.1")


def test_settings_of_before_there_were_more_of_them_are_read(root):
    written("collection.json", b'{"name": "shop", "dimension": 8, "fingerprint": "f"}')(
        root / "collections/shop"
    )
    assert sound(root / "collections" / "shop") == (SHOP, "shard.1")


@pytest.mark.parametrize(
    "kind",
    sorted(
        {
            *BY_THE_ENGINE,
            "empty settings",
            "a file in its place",
            "no shard",
            "segments that are not said to be whole",
        }
    ),
)
async def test_it_hurts_nobody_else(root, tmp_path, kind):
    damage, said = DAMAGES[kind]
    shop = root / "collections" / "shop"
    damage(shop)
    before = set(shop.rglob("*"))
    store = await QdrantEdge.open(root)
    try:
        shown = {info.spec.name: info for info in await store.list_collections()}
        assert shown["well"].points == 3
        assert not shown["well"].damage
        assert said in shown["shop"].damage
        assert shown["shop"].damage.startswith("collections/shop")
        assert str(tmp_path) not in shown["shop"].damage
        assert shown["shop"].aliases == ("the-shop",)

        for name in ("shop", "the-shop"):
            with pytest.raises(CollectionDamaged, match="collection 'shop' is damaged: collections/shop"):
                await store.resolve(name)
        for call in (
            store.get_collection("shop"),
            store.count("shop"),
            store.upsert("shop", points(1)),
            store.create_payload_index("shop", "a", "keyword"),
            store.set_successor("shop", "well"),
        ):
            with pytest.raises(CollectionDamaged):
                await call
        with pytest.raises(AlreadyExists):
            await store.create_collection(SHOP)
        await store.ping()
        assert await store.count((await store.resolve("the-well")).name) == 3
        assert before <= set(shop.rglob("*")), "nothing of it is removed"

        await store.delete_collection("shop")
        assert not shop.exists()
        with pytest.raises(NotFound):
            await store.resolve("the-shop")
        await store.create_collection(SHOP)
        assert await store.count("shop") == 0
    finally:
        await store.close()


@pytest.mark.parametrize("name", ["shop", "shard.1"])
async def test_a_disk_that_fails_under_its_folder_hurts_nobody_else(root, monkeypatch, name):
    stat = Path.stat

    def ill(path, **options):
        if path.name == name and "shop" in path.parts:
            raise OSError(errno.EIO, "Input/output error")
        return stat(path, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "stat", ill)
        store = await QdrantEdge.open(root)
    with pytest.raises(CollectionDamaged, match="collections/shop cannot be read: Input/output error"):
        await store.resolve("shop")
    assert await store.count("well") == 3
    await store.close()


@pytest.mark.parametrize("deaths", [1, 2])
async def test_files_that_two_engines_die_of_are_damaged(root, monkeypatch, deaths):
    call, died = EngineProcess.call, []

    async def dies(engine, method, *arguments):
        if method == "open" and len(died) < deaths:
            died.append(engine)
            engine._process.kill()
        return await call(engine, method, *arguments)

    monkeypatch.setattr(EngineProcess, "call", dies)
    store = await QdrantEdge.open(root)
    if deaths == 1:
        assert await store.count("shop") == 3
    else:
        with pytest.raises(CollectionDamaged, match="cannot be opened: the engine died of it"):
            await store.count("shop")
    await store.close()


async def test_a_shard_that_is_not_in_use_is_kept_while_it_may_be_the_only_one(root):
    current = root / "collections" / "shop" / "current"
    current.write_text("")
    await (await QdrantEdge.open(root)).close()
    current.write_text("shard.1\n")  # mended by hand
    store = await QdrantEdge.open(root)
    assert await store.count("shop") == 3
    await store.close()


async def test_the_service_deletes_it_and_counts_the_others(root):
    (root / "collections" / "shop" / "collection.json").write_text("")
    store = await QdrantEdge.open(root)
    registry = CollectorRegistry()
    watch = asyncio.create_task(SearchMetrics(registry).watch_collections(store))
    await until(
        lambda: registry.get_sample_value("clipsearch_collection_points", {"collection": "well"}) == 3
    )
    assert registry.get_sample_value("clipsearch_collection_points", {"collection": "shop"}) is None
    collections = Collections(store, None, Successors(store))  # type: ignore[arg-type]
    with pytest.raises(CollectionDamaged):
        await collections.delete("the-shop")
    await collections.delete("shop")
    assert [info.spec.name for info in await collections.all()] == ["well"]
    watch.cancel()
    await store.close()


@pytest.mark.parametrize("content", ["", "{", "[]", '"x"', '{"the-well": 5}', '{"../x": "well"}', "\x00"])
async def test_damaged_aliases_are_told_and_kept(root, content):
    (root / "aliases.json").write_text(content)
    store = await QdrantEdge.open(root)
    assert (await store.resolve("well")).name == "well"
    with pytest.raises(FailedPrecondition, match=r"if it is an alias: aliases\.json") as caught:
        await store.resolve("the-well")
    assert caught.value.reason == "ALIASES_DAMAGED"
    await store.set_alias("the-well", "well")
    assert (await store.resolve("the-well")).name == "well"
    assert (root / "aliases.json.damaged").read_text() == content
    await store.close()


async def test_an_alias_of_nothing_says_so_and_can_be_moved(root):
    shutil.rmtree(root / "collections" / "shop")
    store = await QdrantEdge.open(root)
    with pytest.raises(
        FailedPrecondition, match="alias 'the-shop' points at collection 'shop', which does not exist"
    ):
        await store.resolve("the-shop")
    assert await store.set_alias("the-shop", "well") == "shop"
    assert (await store.resolve("the-shop")).name == "well"
    await store.close()


async def test_its_link_as_a_successor_goes_with_it(root):
    well = root / "collections" / "well" / "collection.json"
    well.write_text(json.dumps({**dataclasses.asdict(WELL), "successor": "shop"}))
    (root / "collections" / "shop" / "current").unlink()
    store = await QdrantEdge.open(root)
    with pytest.raises(CollectionDamaged, match="'shop'"):
        await Successors(store).chain("well")
    await store.delete_collection("shop")
    assert len(await Successors(store).chain("well")) == 1
    await store.close()
