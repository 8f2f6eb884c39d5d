"""A profile of round numbers."""

from __future__ import annotations

from typing import Any

from clipsearch.plan.profile import Costs, Profile

COSTS = Costs(
    client_ms=1.0,
    search_loop_ms=2.0,
    search_rest_ms=0.5,
    encoder_loop_ms=1.0,
    session_fixed_ms=1.0,
    session_item_ms=2.0,
    store_ms=2.5,
    image_loop_ms=1.0,
    image_rest_ms=19.0,
)

PROFILE = Profile(
    model="made",
    dimension=512,
    precision="int8",
    measured="2026-11-24T00:00:00+00:00",
    cpu="a processor",
    cores=2,
    free_cores=2.0,
    points=20_000,
    knee_qps=150.0,
    p99_bound_ms=200.0,
    deadline_s=1.0,
    costs=COSTS,
    session_shape=(0.9, 1.0, 1.1),
    store_shape=(0.8, 1.0, 1.2),
    encoder_mb=200.0,
    search_mb=150.0,
)


def document(**changes: Any) -> dict[str, Any]:
    return {**PROFILE.document(), **changes}
