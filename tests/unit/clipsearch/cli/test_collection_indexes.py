"""Payload indexes on the command line."""

from __future__ import annotations

import pytest
import typer

from clipsearch import TextIndex
from clipsearch.cli.collection_indexes import read_indexes, written

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
