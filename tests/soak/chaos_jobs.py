"""What goes on beside the calls of `chaos`: a bulk load again and again, and moves to another model."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from clipsearch import AsyncClient, ClipSearchError, Point
from clipsearch.client.retrying import PASSING
from tests.processes import cli, environment
from tests.toy_bundle import WORDS

VECTORS, TEXTS = 2000, 60
ALIAS = "shop"
MODELS = ("toy", "starter")
Call = Callable[[str, Callable[[], Awaitable[Any]]], Awaitable[Any]]


async def bulk_loads(
    target: str, folder: Path, client: AsyncClient, call: Call, counts: Counter[str]
) -> None:
    """`clipsearch index` of ready vectors into one collection for ever; each must have all at its end."""
    random = np.random.default_rng(1)
    ids = folder / "ids.txt"
    ids.write_text("".join(f"b{n}\n" for n in range(VECTORS)))
    dimension = (await _lasting(lambda: client.create_collection("bulk", model="starter"))).dimension
    while True:
        np.save(folder / "bulk.npy", random.normal(size=(VECTORS, dimension)).astype(np.float32))
        code = await _command(
            target, "index", str(folder / "bulk.npy"), "--ids", str(ids), "-c", "bulk", "--side", "image"
        )
        counts["bulk_loads"] += 1
        counts["bulk_loads_failed"] += code != 0
        if code == 0:
            counts["bulk_points_lost"] += VECTORS - await _lasting(lambda: client.count("bulk"))


async def moves(target: str, folder: Path, client: AsyncClient, call: Call, counts: Counter[str]) -> None:
    """`clipsearch reindex` there and back for ever, while the alias is written and searched."""
    await _lasting(lambda: client.create_collection(f"{ALIAS}-0", model=MODELS[0]))
    await _lasting(lambda: client.update_alias(ALIAS, f"{ALIAS}-0"))
    acknowledged: dict[str, int] = {}
    using = asyncio.create_task(_use(client, call, acknowledged))
    try:
        turn = 0
        while True:
            old, new, model = f"{ALIAS}-{turn}", f"{ALIAS}-{turn + 1}", MODELS[(turn + 1) % 2]
            words = ("reindex", ALIAS, "--model", model, "--to", new, "--samples", "0", "--yes")
            code = await _command(target, *words)
            if using.done():  # it never ends by itself
                using.result()
            counts["moves_tried"] += 1
            if code != 0 and (await _lasting(partial(client.get_collection, ALIAS))).name != new:
                continue  # else the answer to the swap was lost
            turn += 1
            counts["moves"] += 1
            known = dict(acknowledged)
            ids = list(known)
            found = {
                point.id: int(point.payload["version"])
                for point in await _lasting(partial(client.get_points, new, ids))
            }
            lost = {id: (v, found.get(id)) for id, v in known.items() if found.get(id, 0) < v}
            if lost:
                print(f"chaos: after move {turn} {new} lacks {lost}")
            counts["moved_points_lost"] += len(lost)
            await _lasting(partial(client.delete_collection, old), "NOT_FOUND")
    finally:
        using.cancel()
        await asyncio.gather(using, return_exceptions=True)


async def _use(client: AsyncClient, call: Call, acknowledged: dict[str, int]) -> None:
    version = 0
    while True:
        version += 1
        id, words = f"s{version % TEXTS}", f"a {WORDS[5 + version % 4]} {version}"
        write = [Point(id, text=words, payload={"text": words, "version": version})]
        try:
            [result] = await call("write", partial(client.upsert, ALIAS, write))
            if result.error is None and result.successor_error is None:
                acknowledged[id] = version
            await call("read", partial(client.search, ALIAS, words))
        except ClipSearchError as error:
            if error.code not in PASSING:
                raise
        await asyncio.sleep(0.1)


async def _command(target: str, *words: str) -> int:
    process = await asyncio.create_subprocess_exec(
        *cli(*words),
        env=environment(CLIPSEARCH_SERVER=target),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, log = await asyncio.wait_for(process.communicate(), 300)
    except BaseException:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        print(f"chaos: {' '.join(words[:2])} ended with {process.returncode}: {log.decode()[-300:]}")
    return process.returncode or 0


async def _lasting(call: Callable[[], Awaitable[Any]], *but: str) -> Any:
    """The answer, of a call that is not what is measured here; `but` are codes that are one too."""
    for attempt in range(20):
        try:
            return await call()
        except ClipSearchError as error:
            if error.code in but:
                return None
            if error.code not in PASSING or attempt == 19:
                raise
        await asyncio.sleep(0.5)
    raise AssertionError
