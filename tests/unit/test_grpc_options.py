"""gRPC takes an option that it does not know in silence: each that is set here must be one of its own."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from grpc._cython import cygrpc

ROOT = Path(__file__).parents[2]


def options() -> Iterator[str]:
    """The names of options in the packages."""
    for package in ("clipsearch", "encoder_service", "search_service"):
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and re.fullmatch(r"grpc(\.[a-z0-9_]+)+", str(node.value)):
                    yield node.value


def test_every_option_is_one_that_grpc_reads() -> None:
    known = set(re.findall(rb"(?<![a-z_.])grpc(?:\.[a-z0-9_]+)+", Path(cygrpc.__file__).read_bytes()))
    names = set(options())
    assert "grpc.keepalive_time_ms" in names
    assert len(names) > 12
    assert not [name for name in sorted(names) if name.encode() not in known]
