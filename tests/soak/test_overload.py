"""A share of `make overload`: what must hold whatever the machine does meanwhile."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.overload.__main__ import ALLOWED, measure
from tests.soak.share import in_a_soak, limit, share_of

pytestmark = limit


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """A few images where `make overload` makes hundreds."""
    folder = tmp_path_factory.mktemp("corpus")
    for name in ("small", "large"):
        (folder / name).mkdir()
        for number in range(8):
            noise = np.random.default_rng(number).integers(0, 256, (15, 20, 3), np.uint8)
            Image.fromarray(noise).resize((640, 480)).save(folder / name / f"{number}.jpg")
    return folder


@in_a_soak
def test_ten_times_the_best_rate_is_refused_and_not_piled_up(tmp_path, starter_bundle, corpus):
    report = measure(starter_bundle, tmp_path, corpus, seconds=share_of(60, least=5), step_s=2)
    assert set(report["statuses"]) <= ALLOWED
    assert report["statuses"].get("RESOURCE_EXHAUSTED", 0) > 0
    assert report["overload"]["in_time_per_s"] > 0
    assert report["rss_growth_mb"] < 200
    assert max(report["health_ms"]) < 5000  # answered each time; how fast, `make overload` asks
