"""Replicas and nodes by the utilisation law, computed by hand; and what must hold for any load."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsearch.plan.profile import PlanError
from clipsearch.plan.sizing import Hardware, Load, plan
from clipsearch.plan.storage import Stored

from .made import PROFILE


def test_more_cores_do_not_help_an_event_loop() -> None:
    made = plan(Load(1000, 1000), Hardware(cores=64, utilisation=0.5), PROFILE, "none")
    assert made.search.working == 4  # 1000/s x 2 ms / 0.5


def test_fifty_million_pictures_take_two_copies_of_four_nodes() -> None:
    made = plan(Load(50_000_000, 10), Hardware(node_memory=64 * 10**9), PROFILE, "none")
    # 50e6 x 512 x 4 x 1.5 = 153.6 GB; a node takes 51.2 GB: exactly 3 nodes.
    assert made.cluster.stored.memory_bytes == 153_600_000_000
    assert (made.cluster.nodes_a_copy, made.cluster.copies, made.cluster.nodes) == (3, 2, 6)
    assert made.cluster.shards == 6
    assert made.cluster.memory_bytes == 307_200_000_000


def test_a_small_collection_with_copies_takes_three_nodes_and_without_them_one() -> None:
    assert plan(Load(1000, 1), Hardware(), PROFILE, "none").cluster.nodes == 3
    assert plan(Load(1000, 1), Hardware(copies=1), PROFILE, "none").cluster.nodes == 1


def test_many_searches_take_more_copies() -> None:
    made = plan(Load(20_000, 10_000), Hardware(node_cores=8, utilisation=0.5), PROFILE, "none")
    # Two shards of 2.5 ms each: 10,000/s x 5 ms / 0.5 = 100 cores, 13 nodes of 8, and one more.
    assert made.cluster.query_ms == pytest.approx(5.0)
    assert (made.cluster.nodes, made.cluster.copies) == (14, 14)


@given(
    st.integers(1, 10**10),
    st.floats(0.01, 1e6),
    st.integers(1, 64),
    st.floats(0.05, 0.95),
    st.integers(1, 4),
    st.sampled_from(["none", "scalar", "binary"]),
)
def test_what_is_planned_is_never_busier_than_allowed(images, qps, cores, utilisation, copies, kind) -> None:
    hardware = Hardware(cores=cores, utilisation=utilisation, copies=copies)
    made = plan(Load(images, qps), hardware, PROFILE, kind)
    for service in (made.encoder, made.search):
        assert qps * service.demand_ms / 1000 <= service.working * cores * utilisation * (1 + 1e-6)
        assert qps * service.loop_ms / 1000 <= service.working * utilisation * (1 + 1e-6)
    cluster = made.cluster
    left = cluster.nodes - (copies > 1)
    assert qps * cluster.query_ms / 1000 <= left * hardware.node_cores * utilisation * (1 + 1e-6)
    assert cluster.stored.memory_bytes <= cluster.nodes_a_copy * hardware.node_memory * 0.8
    assert cluster.copies >= copies
    assert cluster.nodes >= cluster.copies * cluster.nodes_a_copy or cluster.nodes == 3


@given(st.integers(1, 10**10), st.integers(2, 4096))
def test_quantisation_saves_memory_and_costs_disk(vectors: int, dimension: int) -> None:
    none, scalar, binary = (
        Stored(vectors, vectors, dimension, 100, kind) for kind in ("none", "scalar", "binary")
    )
    assert binary.memory_bytes <= scalar.memory_bytes
    assert none.disk_bytes <= binary.disk_bytes <= scalar.disk_bytes
    if dimension >= 128:
        assert scalar.memory_bytes < none.memory_bytes


@given(st.floats(1, 10_000), st.floats(1.0, 5.0))
def test_more_load_never_needs_less(qps: float, factor: float) -> None:
    less, more = (plan(Load(10**6, rate), Hardware(), PROFILE, "none") for rate in (qps, qps * factor))
    assert more.encoder.working >= less.encoder.working
    assert more.search.working >= less.search.working
    assert more.cluster.nodes >= less.cluster.nodes


@pytest.mark.parametrize(
    ("load", "hardware", "message"),
    [
        (Load(0, 5), Hardware(), "nothing to search"),
        (Load(10, 0), Hardware(), "qps must be a positive number, is 0"),
        (Load(10, math.nan), Hardware(), "qps must be a positive number, is nan"),
        (Load(10, math.inf), Hardware(), "qps must be a positive number, is inf"),
        (Load(10, 5), Hardware(utilisation=1.0), "utilisation must lie between 0 and 1, is 1"),
        (Load(10, 5), Hardware(node_memory=1000), "node-memory must be at least 1 GB"),
    ],
)
def test_a_load_that_makes_no_sense_is_refused(load: Load, hardware: Hardware, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        plan(load, hardware, PROFILE, "none")
