from __future__ import annotations

import pytest

from clipsearch.map.sample import Sample
from tests.unit.clipsearch.map.made import islands


@pytest.fixture
def sample() -> Sample:
    return islands()
