"""gRPC takes an option that it does not know in silence: each that is set here must be one of its own."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from grpc._cython import cygrpc

ROOT = Path(__file__).parents[2]


def options() -> Iterator[str]:
    """The names of options in the packages."""
    for package in ("clipsearch", "encoder_service", "search_service"):
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and re.fullmatch(r"grpc(\.[a-z0-9_]+)+", str(node.value)):
                    yield node.value


@pytest.fixture(scope="module")
def core() -> bytes:
    return Path(cygrpc.__file__).read_bytes()


NAMES = sorted(set(options()))


def test_there_are_some() -> None:
    assert "grpc.keepalive_time_ms" in NAMES
    assert len(NAMES) > 12


@pytest.mark.parametrize("name", NAMES)
def test_an_option_is_one_that_grpc_reads(core: bytes, name: str) -> None:
    assert re.search(rb"(?<![a-z_.])" + re.escape(name.encode()) + rb"(?![a-z_.0-9])", core), name
