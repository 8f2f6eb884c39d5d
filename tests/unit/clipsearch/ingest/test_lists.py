"""Lists: what their rows become, and what is found wrong with them before anything is sent."""

from __future__ import annotations

import json
import os
import re
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsearch.ingest import ItemList, SourceError
from clipsearch.ingest.points import to_point
from clipsearch.ingest.tables.csv_table import NO_VALUE


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


def test_csv_types_can_be_declared_and_strings_keep_words_for_no_value(tmp_path):
    path = written(tmp_path / "a.csv", "text,zip,price,country\nWindhoek,10115,3,NA\n")
    assert payloads(path) == [{"text": "Windhoek", "zip": 10115, "price": 3}]
    assert payloads(path, types={"zip": "string", "price": "float", "country": "string"}) == [
        {"text": "Windhoek", "zip": "10115", "price": 3.0, "country": "NA"}
    ]


@pytest.mark.parametrize(
    ("type", "cells", "values"),
    [
        ("bool", "true T Yes y ON 1", [True] * 6),
        ("bool", "FALSE f no N off 0", [False] * 6),
        ("bool", "2 ja", [None] * 2),
        ("integer", "7 007 +7 -07 0 00 -0", [7, 7, 7, -7, 0, 0, 0]),
        ("integer", "7.5 +-7 --7 1e3 9007199254740993 1_000 x", [None] * 7),
        ("float", "7 007.50 +.5 5. -0.5 1e3", [7, 7.5, 0.5, 5, -0.5, 1000]),
        ("float", "1_000 nan 1e400 +-5 . x", [None] * 6),
    ],
)
def test_cells_of_a_declared_type_are_read_as_what_they_say(tmp_path, type, cells, values):
    path = written(tmp_path / "a.csv", "text,n\n" + "".join(f"a,{cell}\n" for cell in cells.split()))
    items = list(ItemList(path, types={"n": type}).items())
    assert [item.payload.get("n") for item in items] == values
    for cell, item in zip(cells.split(), items, strict=True):
        assert ("n" in item.payload) or f"'{cell}' is no {type}" in item.problem or cell == "nan"


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


def test_parquet_keeps_its_types_and_what_python_cannot_hold_fails_alone(tmp_path):
    import pyarrow
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    table = pyarrow.table(
        {
            "id": [1, 2, 3],
            "text": ["a", "b", "c"],
            "price": [1.5, None, float("nan")],
            "cost": [Decimal("2.50"), Decimal("3.00"), None],
            "when": pyarrow.array([0, 10**12, 0], pyarrow.timestamp("s")),
            "since": [datetime(2024, 5, 31, 12, tzinfo=UTC)] * 3,
            "ns": pyarrow.array([1, 2, None], pyarrow.timestamp("ns")),
            "tags": [["x"], [], None],
            "kind": pyarrow.array(["x", "y", None]).dictionary_encode(),
        }
    )
    parquet.write_table(table, path, row_group_size=1)
    first, second, third = ItemList(path).items()
    assert first.id == "1"
    payload = dict(to_point(first).payload)
    assert payload.pop("indexed_from") == [str(path)]
    assert payload.pop("content_hash")
    assert payload == {
        "text": "a",
        "price": 1.5,
        "cost": 2.5,
        "when": "1970-01-01T00:00:00+00:00",
        "since": "2024-05-31T12:00:00+00:00",
        "ns": "1970-01-01T00:00:00+00:00",
        "tags": ["x"],
        "kind": "x",
    }
    assert second.problem.startswith("column 'when': cannot be read")
    assert third.payload["cost"] is None
    assert to_point(third).payload["price"] is None


def test_whole_numbers_of_databases_are_ids(tmp_path):
    import pyarrow
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    ids = [Decimal("7.00"), Decimal("8.50"), Decimal("1e3")]
    parquet.write_table(pyarrow.table({"id": ids, "text": ["a", "b", "c"]}), path)
    first, second, third = ItemList(path).items()
    assert (first.id, third.id) == ("7", "1000")
    assert "which is no id" in second.problem


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SourceError, match=r"pip install 'clipsearch\[parquet\]'"):
        ItemList(written(tmp_path / "a.parquet", "x")).prepare()


@pytest.mark.parametrize(
    ("name", "content", "options", "complaint"),
    [
        ("a.jsonl", '{"text": "a"}\n', {"id": "sku"}, r"no column 'sku'; columns are text"),
        ("a.jsonl", '{"text": "a", "id": 1}\n', {"id": ""}, r"no column ''; columns are text, id"),
        ("a.jsonl", '{"title": "a"}\n', {}, r"no column of paths or texts is named; columns are title"),
        ("a.jsonl", '{"text": "a", "content_hash": 1}\n', {}, r"column 'content_hash' has a reserved name"),
        ("a.jsonl", '{"text": "a", "indexed_from": 1}\n', {}, r"column 'indexed_from' has a reserved name"),
        ("a.jsonl", '{"text": "a", "_clipsearch_x": 1}\n', {}, r"column '_clipsearch_x' has a reserved name"),
        ("a.jsonl", "\n", {}, "no rows"),
        ("a.jsonl", '[{"text": "a"},\n {"text": "b"}]\n', {}, r"a JSON array.*jq -c"),
        ("a.jsonl", '{"text": "a"}', {"types": {"n": "float"}}, "types are declared for CSV columns"),
        ("a.csv", "", {}, r"a\.csv: empty"),
        ("a.csv", "\n \n", {}, r"a\.csv: empty"),
        ("a.csv", "text\n", {}, "no rows"),
        ("a.csv", "text,n\n,\n , \n", {}, "no rows"),
        ("a.csv", "text,text\na,b\n", {}, "two columns are called 'text'"),
        ("a.csv", "title;n\na;1\n", {}, r"no column of paths or texts is named; columns are title, n"),
        ("a.csv", b"t\xffxt\na\n", {}, r"a\.csv, line 1: the header has bytes that are no UTF-8"),
        ("a.csv", "text\na\n".encode("utf-16-le"), {}, "has zero bytes"),
        ("a.csv", "text\na\n", {"types": {"n": "float"}}, r"no column 'n' to have a type"),
        ("a.csv", "sku,text\n5,a\n", {"id": "sku", "types": {"sku": "integer"}}, r"'sku' .* not integer"),
        ("a.csv", "text\na\n", {"types": {"text": "bool"}}, r"column 'text' has .*strings, not bool"),
        ("a.csv", "text\na\n", {"payload": ["n"]}, r"no column 'n'; columns are text"),
        ("a.xlsx", "x", {}, r"a\.xlsx: not a list; known are \.csv"),
        ("a.parquet", "x", {}, r"a\.parquet: no Parquet file"),
    ],
)
def test_what_is_wrong_with_a_list_is_said_before_the_first_item(tmp_path, name, content, options, complaint):
    source = ItemList(written(tmp_path / name, content), **options)
    with pytest.raises(SourceError, match=complaint):
        source.prepare()


@pytest.mark.parametrize(
    ("name", "content", "options", "problem"),
    [
        ("a.jsonl", '{"text": \n', {}, r"no JSON"),
        ("a.jsonl", '["b"]\n', {}, r"a JSON list, not an object"),
        ("a.jsonl", b'{"text": "\xff"}\n', {}, r"no UTF-8"),
        ("a.jsonl", '{"text": "c", "text": "d", "id": "b"}\n', {}, r"two fields are called 'text'"),
        ("a.jsonl", "[" * 100_000 + "\n", {}, r"no JSON"),
        ("a.jsonl", '{"text": "c"}\n', {}, r"column 'id' is empty"),
        ("a.jsonl", '{"text": "c", "id": ""}\n', {}, r"column 'id' is empty"),
        ("a.jsonl", '{"text": "c", "id": 1.5}\n', {}, r"column 'id' has 1\.5, which is no id"),
        ("a.jsonl", '{"text": "c", "id": true}\n', {}, r"column 'id' has True, which is no id"),
        ("a.jsonl", '{"text": "c", "id": "a"}\n', {}, r"id 'a' stands in line 1 already, with other content"),
        ("a.jsonl", '{"text": 5, "id": "b"}\n', {}, r"column 'text': 5 is no string"),
        ("a.jsonl", '{"path": ["x"], "id": "b"}\n', {}, r"column 'path': \['x'\] is no string"),
        ("a.jsonl", '{"path": "https://x/y.jpg", "id": "b"}\n', {}, r"is an address"),
        ("a.jsonl", '{"path": "data:image/png;base64,iVBOR", "id": "b"}\n', {}, r"is an address"),
        ("a.csv", "b\n", {}, r"1 cells, there are 3 columns"),
        ("a.csv", "b,c,1,2\n", {}, r"4 cells, there are 3 columns"),
        ("a.csv", b"b,\xff,1\n", {}, r"column 'text' has bytes that are no UTF-8"),
        ("a.csv", 'b,"c,1\n', {}, r"no CSV"),
        ("a.csv", 'b,"c"d,1\n', {}, r"no CSV"),
        ("a.csv", "b,c,x\n", {"types": {"n": "float"}}, r"column 'n': 'x' is no float"),
    ],
)
def test_a_bad_row_fails_alone_and_says_why(tmp_path, name, content, options, problem):
    rows = (
        (b'{"text": "a", "id": "a"}\n', b'{"text": "z", "id": "z"}\n')
        if name == "a.jsonl"
        else (b"id,text,n\na,a,1\n", b"z,z,2\n")
    )
    content = content.encode() if isinstance(content, str) else content
    source = ItemList(written(tmp_path / name, rows[0] + content + rows[1]), **options)
    assert source.prepare() == 3
    first, bad, last = source.items()
    assert (first.id, last.id, first.problem, last.problem) == ("a", "z", "", "")
    assert re.search(problem, bad.problem)
    assert bad.place == f"{name}, line {3 if name == 'a.csv' else 2}"


def test_a_quote_that_is_never_closed_costs_its_own_line(tmp_path):
    lines = [f"{n},thing {n}" for n in range(50)]
    lines[10] = '10,"thing 10'
    lines[30] = '30,"thing ""30" x'
    source = ItemList(written(tmp_path / "a.csv", "id,text\n" + "\n".join(lines) + "\n"))
    items = list(source.items())
    assert [item.id for item in items if not item.problem] == [str(n) for n in range(50) if n not in (10, 30)]
    assert [item.place for item in items if item.problem] == ["a.csv, line 12", "a.csv, line 32"]


@pytest.mark.parametrize(
    "content",
    [
        "id;text;n\n1;a, b;2\n",
        "id\ttext\tn\n1\ta, b\t2\n",
        "id|text|n\n1|a, b|2\n",
        'id,text,n\n1,"a, b",2\n',
        'sep=;\nid;text;n\n1;"a, b";2\n',
        '\ufeffid,text,n\r\n1,"a, b",2\r\n',
        '\n\nid,text,n,,\n1,"a, b",2\n,,\n , ,\n',
        'id,text,n\n1,"a, b",2,,\n',
        'id, text, n\n1, "a, b", 2\n',
        'id,text,n\r1,"a, b",2\r',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
def test_csv_is_read_as_programs_write_it(tmp_path, content, encoding):
    source = ItemList(written(tmp_path / "a.csv", content.encode(encoding)))
    (item,) = source.items()
    assert (source.prepare(), item.id, item.problem) == (1, "1", "")
    assert item.payload == {"text": "a, b", "n": 2}


@pytest.mark.parametrize(
    ("content", "bad"),
    [
        ("id,text\n1,a mug\n2,".encode("utf-16") + b"\x00\xd8" + "x\n3,a pen\n".encode("utf-16-le"), "2"),
        ("id,text\n1,a mug\n2,x\n".encode("utf-16") + b"3", "3"),
        ("id,text\n1,a mug\n2,".encode("utf-32") + b"\xff" * 4 + "\n".encode("utf-32-le"), "2"),
    ],
    ids=["half a character", "cut off", "utf-32"],
)
def test_bytes_that_are_no_utf16_fail_their_row_alone(tmp_path, content, bad):
    items = ItemList(written(tmp_path / "a.csv", content)).items()
    problems = {item.place.rpartition(" ")[2]: item.problem for item in items}
    told = {line: problem for line, problem in problems.items() if problem}
    assert problems["2"] == ""
    assert list(told) == [str(int(bad) + 1)]
    assert all("no UTF-16 or -32" in problem or "1 cells" in problem for problem in told.values())


def test_one_zero_byte_does_not_make_a_text_another_encoding(tmp_path):
    text = "id,text\n" + "".join(f"{n},thing number {n}\n" for n in range(9)) + "9,a\0b\n"
    assert [item.text for item in ItemList(written(tmp_path / "a.csv", text)).items()][-1] == "a\0b"


def test_columns_without_a_name_at_the_end_cost_no_row(tmp_path):
    source = ItemList(written(tmp_path / "a.csv", "id,text,,\n1,a,x,y\n2,b,,z\n3,c\n4,d,\n5,e,,,,\n6\n"))
    items = list(source.items())
    assert [(item.id, item.text) for item in items if not item.problem] == list(
        zip("12345", "abcde", strict=True)
    )
    assert [item.place for item in items if item.problem] == ["a.csv, line 7"]
    assert list(source.remarks()) == [
        "column 3 has no name in the header: its 1 values are left out",
        "column 4 has no name in the header: its 2 values are left out",
    ]


@pytest.mark.parametrize("word", [*sorted(NO_VALUE), "", "  ", "\N{NO-BREAK SPACE}"])
def test_a_word_for_no_value_leaves_a_column_its_type(tmp_path, word):
    source = ItemList(
        written(tmp_path / "a.csv", f"text,n,b,s\na,5,true,x\nb,{word},{word},{word}\nc,7,false,y\n")
    )
    first, second, third = (item.payload for item in source.items())
    assert (first["n"], first["b"], third["n"], third["b"]) == (5, True, 7, False)
    assert second == {"text": "b"}
    told = " ".join(source.remarks())
    assert ("column 'n': 1 read as no value" in told) == bool(word.strip())


def test_the_line_that_makes_a_column_text_is_named(tmp_path):
    source = ItemList(written(tmp_path / "a.csv", "text,price\na,5\nb,free\nc,7\nd,8\n"))
    source.prepare()
    (said,) = source.remarks()
    assert "column 'price' is read as text because of line 3 ('free')" in said


def test_a_column_that_has_the_name_of_the_texts_is_kept_under_another(tmp_path):
    row = {"title": "a mug", "text": "long", "text_2": "x", "photo": "p.png", "path": "/aisle/3"}
    source = ItemList(written(tmp_path / "a.jsonl", json.dumps(row)), text="title", path="photo")
    (item,) = source.items()
    assert item.payload == {
        "text": "a mug",
        "text_3": "long",
        "text_2": "x",
        "path": str(tmp_path / "p.png"),
        "path_2": "/aisle/3",
    }
    assert [said for said in source.remarks() if "'text' is kept as 'text_3'" in said]
    assert [said for said in source.remarks() if "'path' is kept as 'path_2'" in said]


def test_equal_rows_of_one_id_are_one(tmp_path):
    path = written(tmp_path / "a.csv", "id,text,n\n1,a,1\n1,a,1\n2,a,1\n1,a,2\n")
    first, twin, other, clash = ItemList(path).items()
    assert (first.repeated, twin.repeated, other.repeated) == (False, True, False)
    assert "stands in line 2 already" in clash.problem


def test_cells_may_be_long(tmp_path):
    path = written(tmp_path / "a.csv", f"id,text,html\n1,a,{'x' * 140_000}\n2,b,{'y' * 5_000_000}\n3,c,z\n")
    items = list(ItemList(path).items())
    assert [item.problem for item in items] == ["", "", ""]
    assert items[1].size > 5_000_000


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_a_list_is_a_regular_file(tmp_path, name):
    with pytest.raises(SourceError, match="no such file"):
        ItemList(tmp_path / name).prepare()
    os.mkfifo(tmp_path / name)
    with pytest.raises(SourceError, match="a named pipe, not a regular file"):
        ItemList(tmp_path / name).prepare()


def test_a_list_is_known_by_its_content_and_how_it_is_read(tmp_path):
    path = written(tmp_path / "a.csv", "text,n\na,1\n")
    (tmp_path / "copy").mkdir()
    same = written(tmp_path / "copy" / "a.csv", "text,n\na,1\n")
    identity = ItemList(path).identity()
    assert ItemList(same).identity() == identity
    assert ItemList(path, payload=[]).identity() != identity
    written(path, "text,n\na,2\n")
    assert ItemList(path).identity() != identity
