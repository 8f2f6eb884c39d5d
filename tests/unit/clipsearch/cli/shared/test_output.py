"""What the commands print of a point, and of the steps of their work."""

from __future__ import annotations

import io

from rich.console import Console

from clipsearch.cli.shared import output
from clipsearch.cli.shared.output import describe, progress


def test_a_payload_is_one_line_of_its_fields_long_ones_cut():
    payload = {"text": "a\n  mug", "note": "x" * 200, "content_hash": "ab"}
    assert describe(payload) == f"text=a mug, note={'x' * 119}…"


def test_each_step_has_a_total_and_a_time_left_of_its_own(monkeypatch):
    terminal = Console(file=io.StringIO(), force_terminal=True, width=100)
    monkeypatch.setattr(output, "stderr", lambda: terminal)
    monkeypatch.setattr(output, "is_terminal", lambda stream: True)
    bars = []
    made = output.progress_bar

    def kept(**options):
        bars.append(made(**options))
        return bars[0]

    monkeypatch.setattr(output, "progress_bar", kept)
    with progress() as show:
        show("checking", 0, 100)
        show("checking", 100, 100)
        show("restoring", 1, 100)
        (task,) = bars[0].tasks
        assert (task.completed, task.total, task.finished) == (1, 100, False)
        show("drawing")
        (task,) = bars[0].tasks
        assert (task.completed, task.total, task.finished) == (0, None, False)
