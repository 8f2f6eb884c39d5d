"""Paths into payloads, held against the engine's own reading of them; names of enums."""

from __future__ import annotations

from typing import Literal

import pytest
import qdrant_edge
from hypothesis import given
from hypothesis import strategies as st

from clipsearch.search.v1 import search_pb2
from clipsearch.serving.errors import InvalidArgument
from search_service.api.point_proto import EnumNames, check_path

GOOD = ["a", "a.b", "a-b", "_x", "1", "größe", "tags[]", "a[0].b", "a[0][1]", '"a b"', '"a.b".c[]']
BAD = [
    "",
    "a..b",
    "a.",
    "a b",
    "a[",
    "a/b",
    "a[-1]",
    'a"b"',
    "a\n",
    "😀",
    '"a\\b"',
    '"',
]


def engine_takes(key: str) -> bool:
    try:
        qdrant_edge.FieldCondition(key=key, match=qdrant_edge.MatchValue(value=1))
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("key", GOOD)
def test_paths_are_taken(key):
    assert check_path(key, "key") == key
    assert engine_takes(key)


@pytest.mark.parametrize("key", BAD)
def test_what_is_no_path_is_refused(key):
    with pytest.raises(InvalidArgument) as caught:
        check_path(key, "filter.must[0].field.key")
    assert caught.value.field == "filter.must[0].field.key"
    assert caught.value.reason == "KEY_INVALID"


@pytest.mark.parametrize("key", ["_clipsearch_id", "_clipsearch.x", '"_clipsearch_id"'])
def test_the_services_own_fields_are_refused(key):
    with pytest.raises(InvalidArgument) as caught:
        check_path(key, "key")
    assert caught.value.reason == "KEY_RESERVED"


@given(st.text(alphabet='ab_.-[]09" é', max_size=10))
def test_whatever_is_taken_the_engine_takes_too(key):
    try:
        check_path(key, "key")
    except InvalidArgument:
        return
    assert engine_takes(key)


def test_names_of_an_enum_are_its_members_and_what_it_lacks_is_said():
    names = EnumNames(Literal["image", "text", "sound"], search_pb2.TermKind, lacking={"sound"})
    assert names.numbers == {"image": search_pb2.TERM_KIND_IMAGE, "text": search_pb2.TERM_KIND_TEXT}
    assert names.name(search_pb2.TERM_KIND_TEXT, "kind") == "text"


@pytest.mark.parametrize(
    ("names", "lacking", "odd"),
    [
        (Literal["image", "text", "sound"], (), "sound"),
        (Literal["image"], (), "text"),
        (Literal["image", "text"], {"text"}, "text"),
    ],
)
def test_a_name_without_a_member_and_a_member_without_a_name_are_told(names, lacking, odd):
    with pytest.raises(ValueError, match=rf"TERM_KIND_\.\.\.: {odd} "):
        EnumNames(names, search_pb2.TermKind, lacking=lacking)
