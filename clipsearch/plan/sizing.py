"""Counts: replicas of both services and nodes of Qdrant, by the utilisation law U = X * D.

(Denning and Buzen 1978: a resource is busy for the arrival rate times the demand of one arrival.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from clipsearch.plan.profile import Costs, PlanError, Profile
from clipsearch.plan.storage import Quantization, Stored

# Shards on each node of a copy: Qdrant advises 2 to 4 a node, so that a cluster can grow.
SHARDS_A_NODE = 2
# Qdrant: three nodes or more, two replicas or more, to go on while one node is down.
LEAST_NODES = 3
# A started process may have grown by half before it is an error: bursts, batches, fragmentation.
MEMORY_HEADROOM = 1.5
# Of a node's memory; the rest is the system's and the page cache's (Qdrant: resident below 80%).
NODE_MEMORY_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class Load:
    """What is to be borne. `texts` are points that have a text vector (as well)."""

    images: int
    qps: float
    texts: int = 0
    payload_bytes: int = 300


@dataclass(frozen=True, slots=True)
class Hardware:
    """What a replica and a Qdrant node have, and how busy they may be. Memory in bytes."""

    cores: int = 2
    node_cores: int = 8
    node_memory: int = 64 * 10**9
    utilisation: float = 0.6
    copies: int = 2  # of the data, at least


@dataclass(frozen=True, slots=True)
class Service:
    """Replicas of a service: `working` bear the load, one more stands in for one that fails."""

    demand_ms: float
    loop_ms: float
    working: int
    memory_bytes: int  # of each

    @property
    def replicas(self) -> int:
        """All of them."""
        return self.working + 1


@dataclass(frozen=True, slots=True)
class Cluster:
    """Qdrant. Every node of a copy is asked by every search; another copy bears another share of them."""

    stored: Stored
    nodes_a_copy: int
    copies: int  # Qdrant's replication_factor
    nodes: int
    shards: int
    query_ms: float  # CPU of one search over all shards

    @property
    def memory_bytes(self) -> int:
        """Of all nodes together."""
        return self.stored.memory_bytes * self.copies

    @property
    def disk_bytes(self) -> int:
        """Of all nodes together."""
        return self.stored.disk_bytes * self.copies


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a load needs, for one way to quantise."""

    load: Load
    hardware: Hardware
    encoder: Service
    search: Service
    cluster: Cluster
    ingest_hours: float  # to encode all images once with the working encoders, nothing else to do


def plan(load: Load, hardware: Hardware, profile: Profile, quantization: Quantization) -> Plan:
    """Raises PlanError."""
    if load.images + load.texts < 1:
        raise PlanError("images and texts are both 0; there is nothing to search")
    if not (math.isfinite(load.qps) and load.qps > 0):
        raise PlanError(f"qps must be a positive number, is {load.qps:g}")
    if not 0 < hardware.utilisation < 1:
        raise PlanError(f"utilisation must lie between 0 and 1, is {hardware.utilisation:g}")
    if hardware.node_memory < 10**9:
        raise PlanError(f"node-memory must be at least 1 GB, is {hardware.node_memory / 1e9:g} GB")
    costs = profile.costs
    encoder = _service(load.qps, costs.encoder_ms, costs.encoder_loop_ms, profile.encoder_mb, hardware)
    search = _service(load.qps, costs.search_ms, costs.search_loop_ms, profile.search_mb, hardware)
    stored = Stored(
        max(load.images, load.texts),
        load.images + load.texts,
        profile.dimension,
        load.payload_bytes,
        quantization,
    )
    return Plan(
        load,
        hardware,
        encoder,
        search,
        _cluster(stored, load, hardware, profile),
        load.images / (encoder.working * images_per_s(costs, hardware.cores)) / 3600,
    )


def _cluster(stored: Stored, load: Load, hardware: Hardware, profile: Profile) -> Cluster:
    """Nodes by memory make up a copy; copies by CPU bear the searches, with one node away."""
    usable = hardware.node_memory * NODE_MEMORY_SHARE
    nodes_a_copy = max(1, math.ceil(stored.memory_bytes / usable))
    shards = nodes_a_copy * SHARDS_A_NODE
    # Of each shard: HNSW's work grows with the logarithm of the vectors.
    deeper = math.log(max(stored.vectors / shards, 2)) / math.log(profile.points)
    query_ms = shards * profile.costs.store_ms * max(1.0, deeper)
    busy = load.qps * query_ms / 1000 / hardware.utilisation  # cores
    nodes = max(
        nodes_a_copy * hardware.copies,
        math.ceil(busy / hardware.node_cores) + (hardware.copies > 1),
        LEAST_NODES if hardware.copies > 1 else 1,
    )
    copies = max(hardware.copies, nodes // nodes_a_copy) if nodes > LEAST_NODES else hardware.copies
    return Cluster(stored, nodes_a_copy, copies, nodes, shards, query_ms)


def images_per_s(costs: Costs, cores: int) -> float:
    """Images that a replica with so many cores encodes at most."""
    return 1000 / max((costs.image_loop_ms + costs.image_rest_ms) / cores, costs.image_loop_ms)


def ceiling_qps(costs: Costs, cores: float) -> float:
    """Searches a second beyond which one machine with client, both services and the store has no CPU left.

    Batches are taken as one text large, so it is a cautious ceiling.
    """
    together = costs.client_ms + costs.search_ms + costs.encoder_ms + costs.store_ms
    return 1000 / max(together / cores, costs.search_loop_ms, costs.encoder_loop_ms, costs.store_ms)


def _service(qps: float, demand_ms: float, loop_ms: float, measured_mb: float, hardware: Hardware) -> Service:
    by_cores = qps * demand_ms / 1000 / (hardware.cores * hardware.utilisation)
    by_loop = qps * loop_ms / 1000 / hardware.utilisation
    working = max(1, math.ceil(max(by_cores, by_loop) - 1e-9))
    return Service(demand_ms, loop_ms, working, round(measured_mb * 1e6 * MEMORY_HEADROOM))
