"""Lists: what their rows become, and what is found wrong with them before anything is sent."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from clipsearch.ingest import ItemList, SourceError


def written(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def payloads(path: Path, **options: Any) -> list[dict]:
    return [dict(item.payload) for item in ItemList(path, **options).items()]


def test_csv_cells_get_the_type_of_their_column(tmp_path):
    path = written(
        tmp_path / "a.csv",
        "id,text,count,price,code,sold,mixed,big\n"
        "007,a mug,3,7,0042,true,1,9007199254740993\n"
        '8,"a, bike",-4,7.5,0043,FALSE,true,1\n'
        "9,a car,,,,,,\n",
    )
    mug, bike, car = ItemList(path).items()
    assert (mug.id, bike.id) == ("007", "8")
    assert mug.payload == {
        "text": "a mug",
        "count": 3,
        "price": 7.0,
        "code": "0042",
        "sold": True,
        "mixed": "1",
        "big": "9007199254740993",
    }
    assert type(mug.payload["price"]) is float
    assert type(mug.payload["count"]) is int
    assert bike.payload["count"] == -4
    assert bike.payload["sold"] is False
    assert bike.text == "a, bike"
    assert car.payload == {"text": "a car"}  # an empty cell is no value


def test_csv_types_can_be_declared(tmp_path):
    path = written(tmp_path / "a.csv", "text,zip,price\na,10115,3\n")
    assert payloads(path, types={"zip": "string", "price": "float"}) == [
        {"text": "a", "zip": "10115", "price": 3.0}
    ]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_numbers_of_a_csv_come_back_the_same(tmp_path_factory, numbers):
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_text("text,number\n" + "".join(f"x,{number!r}\n" for number in numbers))
    assert [payload["number"] for payload in payloads(path)] == numbers


def test_columns_can_be_named_and_left_out(tmp_path):
    path = written(
        tmp_path / "a.jsonl", json.dumps({"sku": 5, "photo": "x/y.jpg", "title": "t", "a": 1, "b": 2})
    )
    (item,) = ItemList(path, id="sku", path="photo", text="title", payload=["b"]).items()
    assert (item.id, item.path, item.text) == ("5", tmp_path / "x/y.jpg", "t")
    assert item.payload == {"b": 2, "path": str(tmp_path / "x/y.jpg"), "text": "t"}


def test_jsonl_keeps_json_and_skips_empty_lines(tmp_path):
    path = written(
        tmp_path / "a.jsonl",
        b'\xef\xbb\xbf{"text": "a", "n": null, "deep": {"x": [1, 2.5]}}\n\n{"text": "b"}\n',
    )
    assert payloads(path) == [{"text": "a", "n": None, "deep": {"x": [1, 2.5]}}, {"text": "b"}]
    assert ItemList(path).prepare() == 2


def test_a_tsv_is_read_by_tabs(tmp_path):
    assert payloads(written(tmp_path / "a.tsv", "text\tn\na, b\t1\n")) == [{"text": "a, b", "n": 1}]


def test_parquet_keeps_its_types(tmp_path):
    path = tmp_path / "a.parquet"
    when = datetime(2024, 5, 31, 12, tzinfo=UTC)
    table = pyarrow.table(
        {
            "id": [1, 2],
            "text": ["a", "b"],
            "price": [1.5, None],
            "cost": [Decimal("2.50"), Decimal("3.00")],
            "when": [when, when],
            "tags": [["x"], []],
        }
    )
    parquet.write_table(table, path, row_group_size=1)
    first, second = ItemList(path).items()
    assert first.id == "1"
    assert first.payload == {"text": "a", "price": 1.5, "cost": 2.5, "when": when.isoformat(), "tags": ["x"]}
    assert second.payload["price"] is None


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SourceError, match=r"pip install 'clipsearch\[parquet\]'"):
        ItemList(written(tmp_path / "a.parquet", "x")).prepare()


def test_a_file_that_is_no_parquet_is_told(tmp_path):
    with pytest.raises(SourceError, match=r"a\.parquet: no Parquet file"):
        ItemList(written(tmp_path / "a.parquet", "x")).prepare()


@pytest.mark.parametrize(
    ("name", "content", "options", "complaint"),
    [
        ("a.jsonl", '{"text": "a"}\n{"text": \n', {}, r"a\.jsonl, line 2: no JSON"),
        ("a.jsonl", '{"text": "a", "n": NaN}\n', {}, r"line 1: no JSON \(NaN is no JSON number\)"),
        ("a.jsonl", '{"text": "a"}\n\n["b"]\n', {}, r"line 3: a JSON list, not an object"),
        ("a.jsonl", '{"text": "\xff"}'.encode("latin-1"), {}, r"line 1: no JSON"),
        ("a.jsonl", '{"text": "a"}\n', {"id": "sku"}, r"no column 'sku'; columns are text"),
        ("a.jsonl", '{"title": "a"}\n', {}, r"no column of paths or texts is named; columns are title"),
        ("a.jsonl", '{"text": "a", "id": 1}\n{"text": "b"}\n', {}, r"line 2: column 'id' is empty"),
        ("a.jsonl", '{"text": "a", "id": 1.5}\n', {}, r"line 1, column 'id': 1\.5 is no id"),
        ("a.jsonl", '{"text": "a", "id": true}\n', {}, r"line 1, column 'id': True is no id"),
        ("a.jsonl", '{"text": 5}\n', {}, r"line 1, column 'text': 5 is no string"),
        ("a.jsonl", '{"path": ["x"]}\n', {}, r"line 1, column 'path': \['x'\] is no string"),
        (
            "a.jsonl",
            '{"text": "a", "id": "x"}\n{"text": "b", "id": "y"}\n{"text": "c", "id": "x"}\n',
            {},
            r"id 'x' stands in line 1 and in line 3",
        ),
        ("a.jsonl", '{"text": "a", "content_hash": 1}\n', {}, r"column 'content_hash' has a reserved name"),
        ("a.jsonl", '{"text": "a", "_clipsearch_x": 1}\n', {}, r"column '_clipsearch_x' has a reserved name"),
        ("a.jsonl", "\n", {}, "no rows"),
        ("a.jsonl", '{"text": "a"}', {"types": {"n": "float"}}, "types are declared for CSV columns"),
        ("a.csv", "", {}, r"a\.csv: empty"),
        ("a.csv", "text\n", {}, "no rows"),
        ("a.csv", "text,text\na,b\n", {}, "two columns are called 'text'"),
        ("a.csv", "text,n\na,1\nb\n", {}, r"a\.csv, line 3: 1 cells, there are 2 columns"),
        ("a.csv", 'text,n\na,"1\n', {}, r"a\.csv, after line 2"),
        ("a.csv", "text;n\na;1\n", {}, r"no column of paths or texts is named; columns are text;n"),
        ("a.csv", b"text\n\xff\n", {}, r"a\.csv.*utf-8"),
        ("a.csv", "text,n\na,1\nb,x\n", {"types": {"n": "float"}}, r"line 3, column 'n': 'x' is no float"),
        ("a.csv", "text\na\n", {"types": {"n": "float"}}, r"no column 'n' to have a type"),
        ("a.csv", "text\na\n", {"payload": ["n"]}, r"no column 'n'; columns are text"),
        ("a.xlsx", "x", {}, r"a\.xlsx: not a list; known are \.csv"),
    ],
)
def test_what_is_wrong_with_a_list_is_said_before_the_first_item(tmp_path, name, content, options, complaint):
    source = ItemList(written(tmp_path / name, content), **options)
    with pytest.raises(SourceError, match=complaint):
        source.prepare()


def test_a_list_that_is_not_there_is_told(tmp_path):
    with pytest.raises(SourceError, match="no such file"):
        ItemList(tmp_path / "a.csv").prepare()


def test_a_list_is_known_by_its_content_and_how_it_is_read(tmp_path):
    path = written(tmp_path / "a.csv", "text,n\na,1\n")
    same = written(
        tmp_path / "copy" if (tmp_path / "copy").mkdir() else tmp_path / "copy/a.csv", "text,n\na,1\n"
    )
    identity = ItemList(path).identity()
    assert ItemList(same).identity() == identity
    assert ItemList(path, payload=[]).identity() != identity
    written(path, "text,n\na,2\n")
    assert ItemList(path).identity() != identity
