"""A simulation of the queues that a text search passes: what a rate does to the latency, and the knee.

    client -> search loop -> encoder loop -> batch -> session -> encoder loop -> search loop -> store -> back

An event loop serves one call at a time; the session runs a batch of all that came meanwhile; whatever
runs shares the cores of its machine in small slices. Not modelled: the network, memory bandwidth, and
the encoder's early refusals (a call is dropped at the session once its deadline has passed).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import simpy

from clipsearch.plan.profile import Profile
from clipsearch.plan.sizing import Plan, ceiling_qps

KEEPS_UP = 0.95
_SLICE_MS = 1.0
_WARM_MS = 1000.0
_MOST_CALLS = 2500  # a simulated second at a higher rate is a shorter one
_LARGEST_BATCH = 64
# Of a loop's work on a call: before the next hop, and after it comes back.
_HALF = 0.5

Process = Generator[Any, Any, None]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the work is done: cores of one machine for all, or of each replica and node."""

    encoders: int = 1
    searches: int = 1
    nodes: int = 1
    together: float = 0.0  # cores of the one machine that has everything; 0 = each has its own
    cores: float = 2.0
    node_cores: float = 2.0
    node_query_ms: float = 0.0  # CPU of a search on each node that it asks
    nodes_a_query: int = 1
    session_threads: int = 2


@dataclass(frozen=True, slots=True)
class Predicted:
    """What a rate does."""

    p50_ms: float
    p99_ms: float
    in_time: float  # share of the calls


def one_machine(profile: Profile) -> Layout:
    """As the profile was measured: everything on the cores that were free."""
    return Layout(
        together=profile.free_cores, node_query_ms=profile.costs.store_ms, session_threads=profile.cores
    )


def planned(plan: Plan) -> Layout:
    """As planned, with one replica of each service and no node away; clients elsewhere."""
    cluster = plan.cluster
    asked = min(cluster.nodes_a_copy, cluster.nodes)
    return Layout(
        encoders=plan.encoder.working,
        searches=plan.search.working,
        nodes=cluster.nodes,
        cores=plan.hardware.cores,
        node_cores=plan.hardware.node_cores,
        node_query_ms=cluster.query_ms / asked,
        nodes_a_query=asked,
        session_threads=plan.hardware.cores,
    )


def at_rate(profile: Profile, layout: Layout, qps: float, seconds: float = 12.0, seed: int = 1) -> Predicted:
    """Simulates Poisson arrivals."""
    seconds = min(seconds, _WARM_MS / 1000 + _MOST_CALLS / qps)
    return _Run(profile, layout, qps, seed).run(seconds * 1000)


def borne(profile: Profile, layout: Layout, qps: float) -> bool:
    """Whether calls at this rate keep up and are in time, by the profile's rule."""
    predicted = at_rate(profile, layout, qps)
    return predicted.in_time >= KEEPS_UP and predicted.p99_ms <= profile.p99_bound_ms


def knee_qps(profile: Profile, layout: Layout, *, highest: float) -> float:
    """The highest rate that is borne, to 4%, at most `highest`."""
    low, high = highest / 16, highest
    while high / low > 1.04:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if borne(profile, layout, middle) else (low, middle)
    return low


def machine_knee_qps(profile: Profile) -> float:
    """The knee of the profile's own machine: what the measured one is compared with."""
    return knee_qps(
        profile, one_machine(profile), highest=2.5 * ceiling_qps(profile.costs, profile.free_cores)
    )


class _Machine:
    """Cores, shared in slices. A fraction of a core makes all of them that much slower."""

    def __init__(self, env: Any, cores: float) -> None:
        whole = max(1, math.ceil(cores - 1e-9))
        self._env = env
        self._cores = simpy.Resource(env, whole)
        self._slow = whole / cores

    def work(self, ms: float) -> Process:
        while ms > 0:
            with self._cores.request() as turn:
                yield turn
                yield self._env.timeout(min(ms, _SLICE_MS) * self._slow)
            ms -= _SLICE_MS


class _Run:
    """One simulation. Times in milliseconds."""

    def __init__(self, profile: Profile, layout: Layout, qps: float, seed: int) -> None:
        self._costs, self._layout = profile.costs, layout
        self._qps, self._deadline_ms = qps, profile.deadline_s * 1000
        self._rng = np.random.default_rng(seed)
        self._env = simpy.Environment()
        self._session_shape, self._store_shape = profile.session_shape, profile.store_shape
        shared = _Machine(self._env, layout.together) if layout.together else None
        self._client = shared

        def machine(cores: float) -> _Machine:
            return shared or _Machine(self._env, cores)

        self._searches = [_Loop(self._env, machine(layout.cores)) for _ in range(layout.searches)]
        self._encoders = [_Encoder(self, machine(layout.cores)) for _ in range(layout.encoders)]
        # The embedded store answers one query at a time, a server as many as it has cores.
        at_once = 1 if shared else math.ceil(layout.node_cores)
        self._nodes = [_Loop(self._env, machine(layout.node_cores), at_once) for _ in range(layout.nodes)]
        self._latencies: list[tuple[float, float]] = []  # when it came, milliseconds (inf: dropped)

    def run(self, until_ms: float) -> Predicted:
        self._env.process(self._arrivals(until_ms))
        self._env.run(until_ms + self._deadline_ms)
        answered = np.array([ms for due, ms in self._latencies if due >= _WARM_MS])
        due = self._due_count
        whole = answered[np.isfinite(answered)]
        if not len(whole) or not due:
            return Predicted(math.inf, math.inf, 0.0)
        in_time = float((answered <= self._deadline_ms).sum()) / due
        p50, p99 = np.percentile(whole, [50, 99]).tolist()
        return Predicted(p50, p99, in_time)

    def draw(self, shape: Sequence[float]) -> float:
        """A factor of the measured shape, by its quantiles; 1 on average."""
        whole, rest = divmod(self._rng.random() * (len(shape) - 1), 1.0)
        low, high = shape[int(whole)], shape[int(whole) + 1]
        return low + rest * (high - low)

    def _arrivals(self, until_ms: float) -> Process:
        self._due_count = 0
        for number in itertools.count():
            yield self._env.timeout(self._rng.exponential(1000 / self._qps))
            if self._env.now >= until_ms:
                return
            self._due_count += self._env.now >= _WARM_MS
            self._env.process(self._call(number))

    def _call(self, number: int) -> Process:
        costs, due = self._costs, self._env.now
        search = self._searches[number % len(self._searches)]
        encoder = self._encoders[number % len(self._encoders)]
        if self._client is not None:
            yield from self._client.work(costs.client_ms * _HALF)
        yield from search.machine.work(costs.search_rest_ms)
        yield from search.serve(costs.search_loop_ms * _HALF)
        yield from encoder.loop.serve(costs.encoder_loop_ms * _HALF)
        if not (yield from encoder.encode(due + self._deadline_ms)):
            self._latencies.append((due, math.inf))
            return
        yield from encoder.loop.serve(costs.encoder_loop_ms * _HALF)
        asked = self._layout.nodes_a_query
        parts = [
            self._nodes[(number * asked + i) % len(self._nodes)].serve(
                self._layout.node_query_ms * self.draw(self._store_shape)
            )
            for i in range(asked)
        ]
        yield self._env.all_of([self._env.process(part) for part in parts])
        yield from search.serve(costs.search_loop_ms * _HALF)
        if self._client is not None:
            yield from self._client.work(costs.client_ms * _HALF)
        self._latencies.append((due, self._env.now - due))


class _Loop:
    """Serves so many at a time, in order of arrival."""

    def __init__(self, env: Any, machine: _Machine, at_once: int = 1) -> None:
        self.machine = machine
        self._turns = simpy.Resource(env, at_once)

    def serve(self, ms: float) -> Process:
        with self._turns.request() as turn:
            yield turn
            yield from self.machine.work(ms)


class _Encoder:
    """An event loop and a session that runs all texts that came while it was busy."""

    def __init__(self, run: _Run, machine: _Machine) -> None:
        self.loop = _Loop(run._env, machine)
        self._run, self._machine = run, machine
        self._queue: list[tuple[float, Any]] = []
        self._arrived = run._env.event()
        run._env.process(self._serve())

    def encode(self, deadline_ms: float) -> Generator[Any, Any, bool]:
        """Whether it was encoded before its deadline."""
        done = self._run._env.event()
        self._queue.append((deadline_ms, done))
        if not self._arrived.triggered:
            self._arrived.succeed()
        return bool((yield done))

    def _serve(self) -> Process:
        env, costs, threads = self._run._env, self._run._costs, self._run._layout.session_threads
        while True:
            yield self._arrived
            self._arrived = env.event()
            while self._queue:
                for _, done in [entry for entry in self._queue if entry[0] <= env.now]:
                    done.succeed(False)
                alive = [entry for entry in self._queue if entry[0] > env.now]
                batch, self._queue = alive[:_LARGEST_BATCH], alive[_LARGEST_BATCH:]
                if not batch:
                    break
                ms = costs.session_fixed_ms + costs.session_item_ms * len(batch)
                ms *= self._run.draw(self._run._session_shape)
                yield env.all_of([env.process(self._machine.work(ms / threads)) for _ in range(threads)])
                for _, done in batch:
                    done.succeed(True)
