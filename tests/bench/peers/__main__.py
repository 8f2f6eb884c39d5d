"""The encoder beside infinity-emb, each over its own API: `make bench-peers`, about 12 minutes on two cores.

The same CLIP ViT-B/32 architecture and weights, the same images and queries, the same client
process; servers take turns, and only one is loaded at a time. infinity-emb runs in float32 and in
int8, and is judged by whichever is faster. That both give the same vectors is checked first.
"""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

from encoder_service.bundle import Tower
from tests.bench.bundles import CLIP, OUT, build
from tests.bench.encoder.corpus import make_corpus
from tests.bench.machine import OtherProcesses, describe
from tests.bench.peers.calls import Load, Pattern, System, items, run_load, vectors
from tests.bench.peers.infinity import PACKAGES, Infinity, PeerPrecision, install, write_checkpoint
from tests.bench.peers.run import OURS, PATTERNS, PEERS, Row, Run
from tests.bench.results import finish, number
from tests.bench.rig import Rig
from tests.bench.summary import Summary

ROUNDS = 3
WARM_S = 1.0
SECONDS: dict[Tower, float] = {"image": 10.0, "text": 3.0}
COMPARED = 32  # items whose vectors are compared
SAME = 0.999  # cosine of two float32 runtimes on the same weights, JPEG and all
CORPUS = OUT / "corpus"
TOWERS: tuple[Tower, ...] = ("text", "image")
PEER_PRECISIONS: tuple[PeerPrecision, ...] = ("float32", "int8")


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs, and how to talk to it."""

    name: str
    system: System
    address: str


def main() -> None:
    """Prepares, measures, writes build/bench/peers.json and prints the table."""
    build(CLIP)
    console = Console()
    with Rig(OUT, console) as rig:
        make_corpus(CORPUS)
        rig.say("the peer: an environment of its own, and the bundle's weights as a checkpoint")
        install(OUT / "peers" / "infinity")
        write_checkpoint(CLIP, OUT / "peers" / "checkpoint")
        others = OtherProcesses()
        run = _measure(rig)
    _show(run, console)
    finish(run, others, console, OUT / "peers.json")


def _measure(rig: Rig) -> Run:
    with ExitStack() as stack:
        servers = _start(rig, stack)
        cosines = _compare_vectors(rig, servers)
        rows = _loads(rig, servers)
    packages = ("onnxruntime", "torch", "transformers", "grpcio", "httpx", "pillow")
    pinned = [line for line in PACKAGES.read_text().splitlines() if "==" in line]
    return Run(
        machine=describe(packages), peer=dict(line.split("==") for line in pinned), cosines=cosines, rows=rows
    )


def _start(rig: Rig, stack: ExitStack) -> list[Server]:
    servers = []
    for name in OURS:
        precision = name.split()[1]
        towers = {f"ENCODER_{tower.upper()}_PRECISION": precision for tower in TOWERS}
        service = rig.start_service("encoder", name, ENCODER_MODEL=str(CLIP), **towers)
        servers.append(Server(name, "clipsearch", service.address))
    for name, dtype in zip(PEERS, PEER_PRECISIONS, strict=True):
        log = OUT / "logs" / f"infinity-{dtype}.log"
        checkpoint = OUT / "peers" / "checkpoint"
        peer = stack.enter_context(Infinity(OUT / "peers" / "infinity", checkpoint, dtype, log))
        rig.say(f"{name}: serving")
        servers.append(Server(name, "infinity", peer.address))
    return servers


def _compare_vectors(rig: Rig, servers: list[Server]) -> dict[str, dict[Tower, float]]:
    """The smallest cosine to the peer's float32 vectors. Raises RuntimeError if fp32 is not the same."""
    cosines: dict[str, dict[Tower, float]] = {server.name: {} for server in servers}
    for tower in TOWERS:
        sent = items(CORPUS, tower, 0, COMPARED)
        found = {s.name: rig.run("client", vectors, s.system, s.address, tower, sent) for s in servers}
        for name, rows in found.items():
            cosines[name][tower] = float(np.min(np.sum(rows * found[PEERS[0]], axis=1)))
        if cosines["clipsearch fp32"][tower] < SAME:
            raise RuntimeError(
                f"{tower}: fp32 differs from the peer: cosine {cosines['clipsearch fp32'][tower]}"
            )
    return cosines


def _loads(rig: Rig, servers: list[Server]) -> list[Row]:
    first = itertools.count(1 << 10, 1 << 13)  # every load has numbers of its own
    found: dict[tuple[str, Tower, Pattern], list[Summary]] = {}
    for number_of_round in range(1, ROUNDS + 1):
        for tower, pattern, server in itertools.product(TOWERS, PATTERNS, servers):
            load = Load(
                server.system, server.address, CORPUS, tower, pattern, next(first), WARM_S, SECONDS[tower]
            )
            summary = rig.run("client", run_load, load)
            found.setdefault((server.name, tower, pattern), []).append(summary)
            rate = summary.ok_per_s * pattern.items
            rig.say(f"round {number_of_round}, {tower}, {pattern}: {server.name} {rate:.1f}/s")
    return [Row(*load, summaries) for load, summaries in found.items()]


def _show(run: Run, console: Console) -> None:
    table = Table(title=f"medians of {ROUNDS} rounds; CLIP ViT-B/32, 640x480 JPEGs, queries of 3-12 words")
    for column in ("server", "load", "items/s"):
        table.add_column(column, justify="right" if column == "items/s" else "left")
    for row in run.rows:
        name = "texts" if row.tower == "text" else "images"
        table.add_row(row.server, f"{name}, {row.pattern}", number(row.items_per_s))
    console.print(table)
    for server, values in run.cosines.items():
        console.print(
            f"smallest cosine to infinity-emb float32: {server} {values}", highlight=False, soft_wrap=True
        )


if __name__ == "__main__":
    main()
