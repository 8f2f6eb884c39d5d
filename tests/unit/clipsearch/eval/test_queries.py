"""Files of queries: what they may say, and what is said of those that are wrong."""

from __future__ import annotations

import json

import pytest

from clipsearch.eval.queries import Asked, read_queries
from clipsearch.ingest import SourceError


def test_lines_with_lists_grades_and_images(tmp_path):
    (tmp_path / "cat.jpg").write_bytes(b"x")
    lines = [
        {"text": "a cat", "relevant": ["chelsea.png", 7]},
        {"text": "a ship", "relevant": {"rocket": 3, "boat": 1, "car": 0}, "more": "is left alone"},
        {"image": "cat.jpg", "relevant": "pets/tiger.png", "grade": 2},
    ]
    file = tmp_path / "queries.jsonl"
    file.write_text("\n".join(json.dumps(line) for line in lines))
    assert read_queries(file) == [
        Asked("line 1", "a cat", None, {"chelsea.png": 1, "7": 1}),
        Asked("line 2", "a ship", None, {"rocket": 3, "boat": 1, "car": 0}),
        Asked("line 3", None, tmp_path / "cat.jpg", {"pets/tiger.png": 2}),
    ]


def test_rows_of_a_csv_that_ask_the_same_are_one_query(tmp_path):
    file = tmp_path / "queries.csv"
    file.write_text("text,relevant,grade\na cat,chelsea,2\n007,12,1\na cat,0012,1\n")
    assert read_queries(file) == [
        Asked("line 2", "a cat", None, {"chelsea": 2, "0012": 1}),
        Asked("line 3", "007", None, {"12": 1}),
    ]


GOOD = '{"text": "a dog", "relevant": "b"}'


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("q.jsonl", GOOD, "1 queries, at least 2 are needed"),
        ("q.jsonl", f"{GOOD}\n{{", "q.jsonl, line 2: no JSON"),
        ("q.jsonl", f'{GOOD}\n{{"relevant": "a"}}', "line 2: has neither text nor image, one is needed"),
        ("q.jsonl", f'{GOOD}\n{{"text": "a", "image": "b", "relevant": "a"}}', "line 2: has text and image"),
        ("q.jsonl", f'{GOOD}\n{{"image": "no.jpg", "relevant": "a"}}', "line 2: image: 'no.jpg' is no file"),
        ("q.jsonl", f'{GOOD}\n{{"text": 7, "relevant": "a"}}', "line 2: text: 7 is no string"),
        ("q.jsonl", f'{GOOD}\n{{"text": "a"}}', "line 2: relevant: is empty"),
        ("q.jsonl", f'{GOOD}\n{{"text": "a", "relevant": []}}', "line 2: relevant: names no right answer"),
        ("q.jsonl", f'{GOOD}\n{{"text": "a", "relevant": {{"x": 0}}}}', "relevant: names no right answer"),
        ("q.jsonl", f'{GOOD}\n{{"text": "a", "relevant": {{"x": 0.5}}}}', "relevant.x: 0.5; a grade is"),
        ("q.jsonl", f'{GOOD}\n{{"text": "a", "relevant": "x", "grade": -1}}', "grade: -1; a grade is"),
        ("q.jsonl", f'{GOOD}\n{{"text": "a", "relevant": [true]}}', "line 2: relevant: True is no string"),
        ("q.jsonl", '{"query": "a", "answer": "b"}', "and relevant; columns are query, answer"),
        ("q.csv", "text,answer\na,b\n", "text or image, and relevant; columns are text, answer"),
        ("q.csv", "text,relevant,grade\na,b,c\nd,e,f\n", "q.csv, line 2: grade: 'c'; a grade is"),
        ("q.txt", "a cat", "q.txt: not a list; known are .csv"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_file_line_and_value(tmp_path, name, content, complaint):
    (tmp_path / name).write_text(content)
    with pytest.raises(SourceError) as error:
        read_queries(tmp_path / name)
    assert complaint in str(error.value)
    assert str(tmp_path / name) in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(SourceError, match=r"gone\.jsonl: no such file"):
        read_queries(tmp_path / "gone.jsonl")
