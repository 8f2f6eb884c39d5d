"""What several tests of serving start from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.clipsearch.serving.served import TokenMaker


@pytest.fixture
def tokens(tmp_path: Path) -> TokenMaker:
    return TokenMaker(tmp_path / "tokens")
