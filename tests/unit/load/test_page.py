"""The page and its charts: well-formed, self-contained, and true to the figures."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.summary import Summary
from tests.load.charts import Line, bars, line_chart, log_ticks, ticks
from tests.load.outcome import Part
from tests.load.page import split_ms
from tests.load.recording import Step
from tests.load.scenarios import scenarios


def texts(markup: str) -> list[str]:
    return [node.text or "" for node in ET.fromstring(markup).iter("text")]


def test_a_chart_is_well_formed_and_escapes_its_names() -> None:
    line = Line("p50 <ms> & more", [(10, 2.0), (20, None), (40, 90.0)], "s1")
    markup = line_chart('a "title" & <more>', "x", "y", [line], log=True, at=20)
    figure = ET.fromstring(markup)
    assert figure.findtext("figcaption") == 'a "title" & <more>'
    assert {"1", "10", "100"} <= set(texts(markup))
    assert len(list(figure.iter("polyline"))) == 1
    (knee,) = [node for node in figure.find("svg").iter("line") if node.get("class") == "knee"]  # type: ignore[union-attr]
    assert knee.get("x1") == knee.get("x2")


def test_a_higher_value_stands_higher() -> None:
    figure = ET.fromstring(line_chart("t", "x", "y", [Line("l", [(1, 1.0), (2, 5.0)], "s1")]))
    marks = [float(node.get("cy", "nan")) for node in figure.find("svg").iter("circle")]  # type: ignore[union-attr]
    assert marks[0] > marks[1]


def test_bars_are_as_long_as_their_numbers() -> None:
    figure = ET.fromstring(bars("t", "x", ["a", "b"], [("1/s", [10.0, 30.0])]))
    widths = [float(n.get("width", "nan")) for n in figure.find("svg").iter("rect")]  # type: ignore[union-attr]
    assert widths[1] / widths[0] == pytest.approx(3, rel=0.05)


def test_without_a_measurement_there_is_a_sentence() -> None:
    assert "Nothing was measured" in line_chart("t", "x", "y", [Line("l", [(1, None)], "s1")])
    assert "Nothing was measured" in bars("t", "x", ["a"], [])


@given(st.floats(1e-3, 1e7))
def test_ticks_reach_the_highest_and_are_few(highest: float) -> None:
    found = ticks(highest)
    assert found[0] == 0
    assert highest <= found[-1] * (1 + 1e-6)
    assert len(found) <= 12


@given(st.floats(1e-3, 1e6), st.floats(1, 1e4))
def test_log_ticks_enclose_the_numbers(lowest: float, factor: float) -> None:
    found = log_ticks(lowest, lowest * factor)
    assert found[0] <= lowest * (1 + 1e-9)
    assert found[-1] >= lowest * factor * (1 - 1e-9)
    assert len(found) >= 2


def test_the_split_adds_up_to_the_latency_and_never_exceeds_the_whole() -> None:
    part = Part(scenarios("c", 100, [])["text"], 100.0, [], 80.0)
    step = Step("text", 10, "ladder", 0.0, 3.0, split={"text": {"queue": 6.0, "decode": 1.0, "infer": 5.0}})
    parts = {"encode": 10.0, "store": 4.0, "wire": 3.0}
    summary = Summary(3.0, 30, 10.0, 10.0, 10.0, 15.0, 20.0, 30.0, {}, parts)
    split = split_ms(part, (step, summary))
    assert math.isclose(sum(split), 17.0)
    assert sum(split[:3]) == pytest.approx(10.0)
    assert split[3] == 4.0
