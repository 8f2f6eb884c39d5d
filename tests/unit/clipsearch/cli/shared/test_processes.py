"""What is told of the services that a command starts."""

from __future__ import annotations

import os

from clipsearch.cli.shared.processes import Running, memory_bytes


def test_the_memory_of_a_service_is_none_where_the_system_hides_it(monkeypatch):
    monkeypatch.delattr(os, "sysconf")  # as on Windows
    assert memory_bytes(Running("nowhere", -1)) is None


def test_the_memory_of_a_service_is_that_of_its_processes():
    assert memory_bytes(Running("here", os.getsid(0))) > 1 << 20
