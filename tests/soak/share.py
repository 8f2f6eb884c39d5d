"""How much of each long run is done: `make soak SHARE=0.1` does a tenth; `make test`, each fault once."""

from __future__ import annotations

import os

import pytest

SHARE = float(os.environ.get("SOAK_SHARE", "0"))
# What takes long even in its least part belongs to `make soak` alone.
in_a_soak = pytest.mark.skipif(SHARE == 0, reason="long: make soak")
limit = pytest.mark.timeout(300 + 3600 * SHARE)


def share_of(whole: int, least: int) -> int:
    """The share of `whole`, but `least` or more."""
    return max(least, round(SHARE * whole))
