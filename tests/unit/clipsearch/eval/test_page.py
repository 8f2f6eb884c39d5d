"""The page of an evaluation: its figures, its chart, and nothing that a name could smuggle in."""

from __future__ import annotations

import base64
import re
from xml.etree import ElementTree

from clipsearch.eval.page import write_page


def row(name: str, search: str, mean: float, **fields: object) -> dict[str, object]:
    figure = {"mean": mean, "low": mean - 0.1, "high": mean + 0.05}
    made = {
        "name": name,
        "precision": None,
        "quantization": "none",
        "search": search,
        "points": 18,
        "queries": 18,
        "measures": {"recall@1": figure, "mrr@10": figure},
        "same": None,
        "p50_ms": 3.21,
        "memory_bytes": None,
        "bytes_a_point": 2048.0,
    }
    return made | fields


def test_the_page_has_every_figure_and_a_chart_and_runs_nothing(tmp_path):
    rows = [
        row("<script>alert(1)</script> $x$", "exact", 0.9),
        row("clip", "ef 64", 0.75, precision="int8", same=0.98765, memory_bytes=123_000_000),
    ]
    told = {"queries": "q.jsonl", "target": "any", "below": ["clip, ef 64: <b>"], "rows": rows}
    write_page(told, tmp_path / "eval.html")
    page = (tmp_path / "eval.html").read_text()
    for shown in (
        "0.900",
        "0.800 to 0.950",
        "clip, int8",
        "ef 64",
        "0.988",
        "3.2",
        "123",
        "2,048",
        "q.jsonl",
    ):
        assert shown in page
    assert "<script" not in page
    assert "<b>" not in page
    drawn = re.search(r'src="data:image/svg\+xml;base64,([^"]+)"', page)
    assert drawn is not None
    chart = ElementTree.fromstring(base64.b64decode(drawn[1]))
    assert chart.tag.endswith("svg")
