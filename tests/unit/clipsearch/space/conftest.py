from __future__ import annotations

import pytest

from clipsearch.space.sample import Sample
from tests.unit.clipsearch.space.made import islands


@pytest.fixture
def sample() -> Sample:
    return islands()
