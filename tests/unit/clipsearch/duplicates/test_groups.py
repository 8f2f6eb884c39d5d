"""Groups of a collection on a real service, and the page of them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from clipsearch.cli import app
from clipsearch.client.aio import AsyncClient
from clipsearch.client.inputs import Point
from clipsearch.duplicates.groups import Member, duplicates
from clipsearch.duplicates.page import write_page
from search_service.settings import SearchSettings
from tests.unit.search_service.served import DIMENSION, serving
from tests.waiting import HANGS_S


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[AsyncClient]:
    """Of a collection with 20 images all near, three in a row, nine that are not, and two equal texts."""
    async with (
        serving(tmp_path / "data", "127.0.0.1:1", SearchSettings()) as served,
        AsyncClient(served.address, timeout=HANGS_S) as client,
    ):
        await client.create_collection("c", dimension=DIMENSION, fingerprint="f")
        random = np.random.default_rng(0)
        axes = np.eye(DIMENSION)
        near_a = [axes[0] + 0.01 * random.standard_normal(DIMENSION) for _ in range(20)]
        row = [axes[1] + angle * axes[2] for angle in (0.0, 0.3, 0.63)]  # 17 degrees from one to the next
        far = [axes[3] * np.cos(n) + axes[4] * np.sin(n) for n in np.linspace(0, 3, 9)]
        points = [Point(f"a{n}", image_vector=v, payload={"n": n}) for n, v in enumerate(near_a)]
        points += [Point(f"b{n}", image_vector=v) for n, v in enumerate(row)]
        points += [Point(f"far{n}", image_vector=v) for n, v in enumerate(far)]
        points += [Point(f"t{n}", image_vector=axes[5 + n], text_vector=axes[0]) for n in range(2)]
        await client.upsert("c", points)
        yield client


async def test_groups_are_told_the_largest_first_with_payloads_and_cosines(client):
    seen: dict[str, tuple[int, int]] = {}
    found = [g async for g in duplicates(client, "c", "image", 0.95, lambda s, *now: seen.update({s: now}))]
    assert [{member.id for member in group} for group in found] == [
        {f"a{n}" for n in range(20)},
        {"b0", "b1", "b2"},
    ]
    assert all(member.payload == {"n": int(member.id[1:])} for member in found[0])
    assert found[0][0].cosine == pytest.approx(1)
    assert found[1][0].id == "b1", "the one that both others are near to"
    assert {round(member.cosine, 3) for member in found[1][1:]} == {0.958, 0.964}
    assert seen == {"reading": (34, 34), "comparing": (34, 34)}


async def test_texts_are_compared_on_request_and_none_may_be_found(client):
    texts = [group async for group in duplicates(client, "c", "text", 1 - 1e-6)]
    assert [{member.id for member in group} for group in texts] == [{"t0", "t1"}]
    await client.delete_points("c", ["t0", *(f"a{n}" for n in range(20))])
    assert [group async for group in duplicates(client, "c", "image", 0.97)] == []
    assert [group async for group in duplicates(client, "c", "text", 0.9)] == []


async def test_what_goes_meanwhile_is_left_out(client):
    groups = duplicates(client, "c", "image", 0.95)
    first = await anext(groups)
    await client.delete_points("c", ["b0", "b2"])
    assert len(first) == 20
    assert [group async for group in groups] == []


async def test_the_command_prints_only_ids_that_a_line_holds_and_says_what_it_compared(client):
    async def told(*words: str) -> Result:
        command = ["duplicates", "c", "--server", client.address, *words]
        return await asyncio.to_thread(CliRunner().invoke, app, command)

    some = await told("--ids")
    printed = [line for line in some.stdout.splitlines() if re.fullmatch(r"[ab]\d+", line)]  # beside logs
    assert (some.exit_code, len(printed)) == (0, 21), some.output
    assert "2 groups of 23 points in all, of 34 compared" in some.stderr
    await client.upsert("c", [Point("a0\nfar1", image_vector=np.eye(DIMENSION)[0])])
    broken = await told("--ids")
    assert (broken.exit_code, "far1" in broken.stdout) == (1, False)
    assert "1 id left out" in broken.stderr
    await client.delete_vectors("c", filter={"must": [{"has_vector": "text"}]}, vectors=["text"])
    none = await told("--target", "text")
    assert "no point has a vector of its text; --target image compares images" in none.stderr


def test_the_page_shows_what_there_is_of_each_point_and_runs_nothing(tmp_path):
    Image.new("RGB", (300, 200), "red").save(tmp_path / "red.png")
    group = [
        Member("one", 1.0, {"path": str(tmp_path / "red.png")}),
        Member("<script>alert(1)</script>", 0.97, {"path": str(tmp_path / "gone.png")}),
        Member("three", 0.96, {"title": "a <b>mug</b>", "price": 3}),
        *(Member(f"p{n}", 0.95, {}) for n in range(30)),
    ]
    write_page("c<", 0.95, [group], 7, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.count("<img ") == page.count("data:image/webp;base64,") == 1
    for words in (
        "Duplicates in c&lt;",
        "8 groups of points with a cosine of at least 0.95",
        "7 smaller groups are not shown",
        "1: 33 points",
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        "price=3, title=a &lt;b&gt;mug&lt;/b&gt;",
        "and 9 more",
    ):
        assert words in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
