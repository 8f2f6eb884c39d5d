"""Payload indexes on the command line."""

from __future__ import annotations

import asyncio

import pytest
import typer
from typer.testing import CliRunner

from clipsearch import TextIndex
from clipsearch.cli import app
from clipsearch.cli.collection_indexes import read_indexes, written
from clipsearch.client.aio import AsyncClient
from search_service.settings import SearchSettings
from tests.unit.search_service.served import DIMENSION, serving
from tests.waiting import HANGS_S

TITLE = TextIndex(
    tokenizer="prefix", lowercase=False, min_token_len=2, stopwords=("a", "the"), phrase_matching=True
)


def test_what_is_written_is_read_again():
    declared = (
        "title=text,tokenizer=prefix,lowercase=false,min_token_len=2,stopwords=a+the,phrase_matching=true"
    )
    assert read_indexes(["a=b=keyword", "place=geo", declared], "--index") == {
        "a=b": "keyword",
        "place": "geo",
        "title": TITLE,
    }
    assert f"title={written(TITLE)}" == declared
    assert written("geo") == "geo"


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ("title", "FIELD=TYPE"),
        ("=text", "FIELD=TYPE"),
        ("title=words", "keyword, tenant, integer"),
        ("price=float,lowercase=true", "text may have options"),
        ("title=text,lowercase=maybe", "no option with a value"),
        ("title=text,min_token_len=two", "no option with a value"),
        ("title=text,phrases=true", "phrase_matching"),
    ],
)
def test_what_cannot_be_read_is_said(declared, said):
    with pytest.raises(typer.BadParameter, match=said):
        read_indexes([declared], "--index")


async def test_an_index_to_remove_that_is_not_there_is_told(tmp_path):
    async with (
        serving(tmp_path / "data", "127.0.0.1:1", SearchSettings()) as served,
        AsyncClient(served.address, timeout=HANGS_S) as client,
    ):
        await client.create_collection(
            "c", dimension=DIMENSION, fingerprint="f", payload_indexes={"a": "float", "b": "keyword"}
        )
        for words, said, code in (
            (("--remove", "a"), "a has no index now\n", 0),
            (("--remove", "a", "--remove", "b"), "a had no index\nb has no index now\n", 1),
            (("--remove", "b", "b=keyword"), "b had no index\nb has an index now: keyword\n", 0),
            (("--remove", "b", "b=keyword"), "b has no index now\nb has an index now: keyword\n", 0),
        ):
            command = ["collections", "index", "c", *words, "--server", served.address]
            told = await asyncio.to_thread(CliRunner().invoke, app, command)
            assert (told.stderr, told.exit_code) == (said, code)
        assert (await client.get_collection("c")).payload_indexes == {"b": "keyword"}
