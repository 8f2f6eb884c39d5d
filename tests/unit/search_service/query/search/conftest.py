"""Fixtures: a server with two collections that are filled once for a module; no test writes to them."""

from __future__ import annotations

import numpy as np
import pytest
import pytest_asyncio

from tests.unit.search_service.served import Client, FakeEncoder, fill_arc, serving, unit


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def encoder():
    fake = FakeEncoder()
    await fake.start()
    yield fake
    await fake.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(tmp_path_factory, encoder: FakeEncoder, settings):
    async with serving(tmp_path_factory.mktemp("search"), encoder.address, settings) as client:
        await fill_arc(client, encoder)
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gap(client: Client, encoder: FakeEncoder) -> None:
    """Images, captions and items with both, as a CLIP model places them: texts lie far nearer to a text.

    Relevance falls from 0 to 5 within images and within captions alike.
    """
    await client.create("gap")
    query, text_axis = unit(1), unit(0, 1)

    def caption(i: int) -> np.ndarray:
        return unit(0.9 - 0.05 * i, 0.4, 0.02 * i)

    def picture(i: int) -> np.ndarray:
        return unit(0.30 - 0.04 * i, 0, 0.9, 0.02 * i)

    assert picture(0) @ query < caption(5) @ query, "the gap is there"
    assert abs(text_axis @ query) < 1e-6
    await client.upsert(
        *({"id": f"picture{i}", "image_vector": picture(i)} for i in range(6)),
        *({"id": f"caption{i}", "text_vector": caption(i)} for i in range(6)),
        {"id": "both", "image_vector": picture(1), "text_vector": caption(1), "payload": {"kind": "both"}},
        collection="gap",
    )
    encoder.vectors["query"] = query


@pytest.fixture(autouse=True)
def nothing_called(encoder: FakeEncoder) -> None:
    encoder.calls.clear()
