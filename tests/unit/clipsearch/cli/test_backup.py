"""What backup and restore say when they are stopped."""

from __future__ import annotations

import importlib
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import typer

backup = importlib.import_module("clipsearch.cli.backup")  # the package calls the command by this name


def test_ctrl_c_is_told_once_the_bar_is_gone(monkeypatch):
    happened = []

    @contextmanager
    def progress():
        try:
            yield None
        finally:
            happened.append("the bar is gone")

    def stopped(show):
        raise KeyboardInterrupt

    monkeypatch.setattr(backup, "progress", progress)
    monkeypatch.setattr(backup, "stderr", lambda: SimpleNamespace(print=happened.append))
    with pytest.raises(typer.Exit) as ended:
        backup._resumable(stopped)
    assert happened == ["the bar is gone", "stopped; start it again to go on where it was"]
    assert ended.value.exit_code == 130
