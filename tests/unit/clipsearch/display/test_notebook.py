"""Results as HTML tables: what is in them, and what must never be."""

from __future__ import annotations

import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from tests.unit.clipsearch.found import a_hit, a_page, a_result

HOSTILE = """<script>alert(1)</script><img src=x onerror="alert(2)">'"&</td></table>"""


class Seen(HTMLParser):
    """The rows of text of a table, every element, and every attribute, as a browser would read them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.elements: set[str] = set()
        self.attributes: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(text)
        assert not self.open, "elements that are not closed"

    def handle_starttag(self, tag, attrs):
        self.elements.add(tag)
        if tag != "img":
            self.open.append(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, []).append(value)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data


@pytest.fixture
def picture(tmp_path: Path) -> str:
    path = tmp_path / "cat.png"
    Image.new("RGB", (300, 200), "orange").save(path)
    return str(path)


def test_a_hit_is_a_row_with_rank_picture_score_side_id_and_fields(picture):
    payload = {"path": picture, "name": "cat.png", "price": 7.5, "tags": ["a", "b"], "sold": False}
    result = a_result(a_hit("cat", 0.5321, payload=payload), a_hit("tea", 0.25, matched="text"))
    seen = Seen(result._repr_html_())
    assert seen.rows == [
        ["#", "", "score", "matched", "id", "name", "path", "price", "sold", "tags"],
        ["1", "", "0.532", "image", "cat", "cat.png", picture, "7.5", "false", '["a", "b"]'],
        ["2", "", "0.250", "text", "tea", "", "", "", "", ""],
    ]
    [source] = seen.attributes["src"]
    assert source.startswith("data:image/webp;base64,")
    assert seen.attributes["alt"] == ["cat.png"]
    assert [style for style in seen.attributes["style"] if "width:53%" in style]


def test_nothing_of_a_result_becomes_markup(picture):
    hostile = a_hit(HOSTILE, payload={HOSTILE: HOSTILE, "title": HOSTILE, "path": picture, "list": [HOSTILE]})
    for text in (a_result(hostile).to_html(), a_page(dict(hostile.payload)).to_html()):
        seen = Seen(text)
        assert seen.elements <= {"div", "table", "thead", "tbody", "tr", "th", "td", "span", "img"}
        assert seen.attributes.keys() <= {"style", "scope", "src", "alt"}
        assert all(source.startswith("data:image/webp;base64,") for source in seen.attributes["src"])
        assert HOSTILE in seen.rows[0]
        assert HOSTILE in seen.rows[1]


def test_a_hostile_file_name_stays_in_its_attribute(tmp_path):
    path = tmp_path / '"onload="alert(1)" x="<b>.png'
    Image.new("RGB", (30, 20)).save(path)
    seen = Seen(a_result(a_hit(payload={"path": str(path)})).to_html())
    assert seen.attributes["alt"] == [path.name]
    assert "onload" not in seen.attributes


@pytest.mark.timeout(10)
def test_what_is_no_picture_file_here_is_not_read(tmp_path, picture):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "text.png").write_text("no picture")
    with (tmp_path / "huge.png").open("wb") as huge:
        huge.write(Path(picture).read_bytes())
        huge.truncate(65 * 1024 * 1024)
    paths = [tmp_path / "pipe.png", tmp_path / "text.png", tmp_path / "huge.png", tmp_path, "/dev/zero"]
    paths += [tmp_path / "gone.png", "a\0b", "x" * 5000, 7, None, ["a"], ""]
    hits = [a_hit(payload={"path": p if not isinstance(p, Path) else str(p)}) for p in paths]
    assert "<img" not in a_result(*hits).to_html()


def test_pictures_and_rows_are_bounded(picture):
    result = a_result(*(a_hit(str(n), payload={"path": picture}) for n in range(300)))
    text = result._repr_html_()
    assert text.count("<img") == 24
    assert len(text) < 200_000
    assert len(Seen(text).rows) == 101
    assert "300 hits" in text
    assert "the first 100 are shown" in text
    assert result.to_html(thumbnails=2).count("<img") == 2
    assert "<img" not in result.to_html(thumbnails=0)


def test_long_values_are_cut():
    text = a_result(a_hit(payload={"text": "word " * 5000})).to_html()
    assert len(text) < 3000
    assert "word…" in text


def test_fields_are_the_chosen_ones_or_a_few():
    payload = {f"field{n}": n for n in range(20)} | {"title": "a mug", "content_hash": "ab"}
    result = a_result(a_hit(payload=payload))
    assert Seen(result.to_html()).rows[0][4:] == [
        "title",
        "field0",
        "field1",
        "field10",
        "field11",
        "field12",
    ]
    chosen = Seen(result.to_html(fields=["field7", "nowhere"]))
    assert [row[4:] for row in chosen.rows] == [["field7", "nowhere"], ["7", ""]]


def test_weak_matches_are_marked():
    hits = a_hit(score=0.5), a_hit(score=0.1, weak=True), a_hit(score=0.1, matched="text")
    marked = Seen(a_result(*hits).to_html())
    assert [row[1] for row in marked.rows[1:]] == ["0.500", "0.100 weak", "0.100"]


def test_bars_of_fused_scores_compare_with_the_best():
    result = a_result(
        a_hit(score=0.03), a_hit(score=0.015), a_hit(score=0.0), fused=True, fusion="calibrated"
    )
    assert re.findall(r"width:(\d+)%", result.to_html()) == ["100", "50", "0"]
    assert "scores in spreads above the best that unrelated queries find" in result.to_html()
    plain = a_result(a_hit(score=1.2), a_hit(score=-0.3))
    assert re.findall(r"width:(\d+)%", plain.to_html()) == ["100", "0"]


def test_an_empty_result_and_a_cut_query_say_so():
    text = a_result(tokens_dropped={0: 12}).to_html()
    assert "0 hits" in text
    assert "term 1 was too long for the model; 12 tokens cut off" in text
    assert "<table" not in text


def test_a_page_shows_its_points():
    seen = Seen(a_page({"name": "a"}, {"name": "b"}, next_token="more")._repr_html_())
    assert seen.rows == [["id", "vectors", "name"], ["p0", "image", "a"], ["p1", "image", "b"]]
    assert "2 points, more follow" in a_page({}, {}, next_token="more").to_html()
