"""`clipsearch plan`: what a load needs, from measured costs."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from clipsearch.cli.shared.options import Json
from clipsearch.cli.shared.output import plain, print_json, stdout, table
from clipsearch.cli.shared.problems import Problem
from clipsearch.plan import sizing, storage
from clipsearch.plan.profile import Profile, choose
from clipsearch.plan.sizing import Hardware, Load, Plan, Service
from clipsearch.plan.storage import Quantization

_POWERS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "B": 10**9, "T": 10**12}
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGBT]?)", re.IGNORECASE)
_KINDS = {"none": "float32", "scalar": "int8 copy", "binary": "1-bit copy"}


def plan(
    images: Annotated[str, typer.Option(metavar="N", help="Images in the collection: 200K, 50M, 1.5B.")],
    qps: Annotated[float, typer.Option(help="Text searches a second, at the peak.")],
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The encoder's model, as GetModel names it.", show_default="starter"
        ),
    ] = None,
    profile: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="Costs that `make load` measured: build/load/profile.json.",
            show_default="one that comes with the package",
        ),
    ] = None,
    texts: Annotated[str, typer.Option(metavar="N", help="Points with a text vector.")] = "0",
    payload_bytes: Annotated[int, typer.Option(min=0, help="Bytes of a point's payload.")] = 300,
    cores: Annotated[int, typer.Option(min=1, help="Cores of a replica of either service.")] = 2,
    node_cores: Annotated[int, typer.Option(min=1, help="Cores of a Qdrant node.")] = 8,
    node_memory: Annotated[str, typer.Option(metavar="BYTES", help="Memory of a Qdrant node.")] = "64G",
    copies: Annotated[int, typer.Option(min=1, help="Least copies of the data (replication factor).")] = 2,
    utilisation: Annotated[float, typer.Option(help="How busy CPUs may be at the peak, 0 to 1.")] = 0.6,
    explain: Annotated[bool, typer.Option("--explain", help="Say how each number comes about.")] = False,
    json: Json = False,
) -> None:
    """Says what a load needs: replicas, Qdrant nodes and shards, memory, disk; with and without quantisation.

    CPU needs come from a profile that was measured with one model on one machine, bytes from Qdrant's
    documented formulas. With SimPy (pip install 'clipsearch\\[plan]') the latency is simulated too.

    Examples:

      clipsearch plan --images 50M --qps 500

      clipsearch plan --images 2M --qps 80 --profile build/load/profile.json --explain
    """
    load = Load(_count("images", images), qps, _count("texts", texts), payload_bytes)
    hardware = Hardware(cores, node_cores, _count("node-memory", node_memory), utilisation, copies)
    chosen = choose(model, profile)
    kinds: tuple[Quantization, ...] = ("none", "scalar", "binary")
    plans = [sizing.plan(load, hardware, chosen, kind) for kind in kinds]
    simulated = _simulated(plans, chosen)
    if json:
        print_json(document(plans, chosen, simulated))
    else:
        show(plans, chosen, simulated, explain=explain)


def _simulated(plans: list[Plan], profile: Profile) -> dict[str, float] | None:
    """Milliseconds at the load, and the knee of the profile's machine; None without SimPy."""
    from importlib.util import find_spec

    if find_spec("simpy") is None:
        return None
    from clipsearch.plan.simulate import at_rate, machine_knee_qps, planned

    at = at_rate(profile, planned(plans[0]), plans[0].load.qps)
    return {"p50_ms": at.p50_ms, "p99_ms": at.p99_ms, "machine_knee_qps": machine_knee_qps(profile)}


def _count(name: str, text: str) -> int:
    """50M and the like. Raises Problem."""
    found = _NUMBER.fullmatch(text.strip())
    if found is None:
        raise Problem(f"{name}: {text!r} is not a number of 0 or more, such as 200K, 50M or 1.5B")
    return round(float(found[1]) * _POWERS[found[2].upper()])


def show(
    plans: Sequence[Plan], profile: Profile, simulated: dict[str, float] | None, *, explain: bool
) -> None:
    """Prints the plans, one column for each way to quantise."""
    console, first = stdout(), plans[0]
    services = table("service", "replicas>", "cores of each>", "memory of each>", "CPU of a search>")
    for name, service in (("encoder", first.encoder), ("search", first.search)):
        services.add_row(
            name,
            f"{service.working} + 1",
            str(first.hardware.cores),
            gigabytes(service.memory_bytes),
            f"{service.demand_ms:.1f} ms",
        )
    console.print(services)
    cluster = table("Qdrant", *(f"{_KINDS[plan.cluster.stored.quantization]}>" for plan in plans))
    for label, value in _CLUSTER_ROWS:
        cluster.add_row(label, *(value(plan) for plan in plans))
    console.print(cluster)
    console.print(
        f"encoding all images once: {_hours(first.ingest_hours)} with {first.encoder.working} encoders",
        markup=False,
    )
    for line in _predictions(profile, simulated):
        console.print(line, markup=False)
    console.print(f"costs: {plain(profile)}")
    if explain:
        console.print()
        for reason in reasons(plans, profile):
            console.print(f"- {reason}", markup=False)
    else:
        console.print("--explain says how each number comes about")


_CLUSTER_ROWS: list[tuple[str, Callable[[Plan], str]]] = [
    ("nodes", lambda plan: str(plan.cluster.nodes)),
    ("shards", lambda plan: str(plan.cluster.shards)),
    ("copies (replication factor)", lambda plan: str(plan.cluster.copies)),
    ("memory, all nodes", lambda plan: gigabytes(plan.cluster.memory_bytes)),
    ("disk, all nodes", lambda plan: gigabytes(plan.cluster.disk_bytes)),
    ("CPU of a search", lambda plan: f"{plan.cluster.query_ms:.1f} ms"),
]


def _predictions(profile: Profile, simulated: dict[str, float] | None) -> list[str]:
    if simulated is None:
        return ["latency: not simulated; pip install 'clipsearch[plan]'"]
    knee = simulated["machine_knee_qps"]
    deviation = f" ({knee / profile.knee_qps - 1:+.0%})" if profile.knee_qps else ""
    return [
        f"latency at the peak, simulated: p50 {simulated['p50_ms']:.0f} ms, p99 {simulated['p99_ms']:.0f} ms",
        f"the profile's own machine, everything on it: a knee of {knee:.0f}/s simulated, "
        f"{profile.knee_qps:.0f}/s measured{deviation}",
    ]


def reasons(plans: Sequence[Plan], profile: Profile) -> list[str]:
    """How the numbers come about, each with its source."""
    first, costs = plans[0], profile.costs
    load, hardware = first.load, first.hardware
    return [
        _service_reason("encoder", first.encoder, first)
        + f"; a text costs {costs.encoder_loop_ms:.2f} ms in the event loop and "
        f"{costs.session_fixed_ms:.2f} + {costs.session_item_ms:.2f} ms in the session (measured; what "
        "batches spare is left out)",
        _service_reason("search", first.search, first),
        "U = X * D: a resource is busy for the arrival rate times the demand of one arrival (the "
        f"utilisation law, Denning and Buzen 1978); {hardware.utilisation:.0%} busy at the peak, and one "
        "replica more for one that fails",
        f"memory of a replica: measured resident memory x {sizing.MEMORY_HEADROOM:g}",
        *(_memory_reason(plan) for plan in plans),
        f"disk: float32 vectors, quantised copy, HNSW links, {storage.POINT_BYTES} bytes a point and "
        f"{load.payload_bytes} of payload, x {storage.DISK_HEADROOM:g}: room for a segment that is "
        "rewritten and for a snapshot; x copies",
        f"nodes of a copy: memory / ({hardware.node_memory / 1e9:g} GB x {sizing.NODE_MEMORY_SHARE:g}); "
        f"{sizing.SHARDS_A_NODE} shards on each (Qdrant: 2 to 4 a node)",
        f"nodes: at least copies x nodes of a copy, at least {sizing.LEAST_NODES} if there are copies "
        "(Qdrant: three nodes and two replicas go on while one node is down), and enough CPU with one away",
        f"CPU of a search in Qdrant: {costs.store_ms:.2f} ms measured at {profile.points:,} points on "
        "Qdrant Edge with the Python around it, so an upper bound; x log of a shard's vectors / log of those "
        "(HNSW's work is logarithmic, Malkov and Yashunin 2016) x shards, since every shard is asked; "
        "quantised vectors are taken to cost the same",
        f"encoding: {sizing.images_per_s(costs, hardware.cores):.0f} images a second and encoder "
        f"({costs.image_loop_ms + costs.image_rest_ms:.1f} ms of CPU for a 640x480 JPEG, measured) with "
        "nothing else to do",
        "simulated latency: queues of event loops, batches and cores, with measured service times; "
        "clients and network add theirs",
    ]


def _service_reason(name: str, service: Service, plan: Plan) -> str:
    hardware, qps = plan.hardware, plan.load.qps
    return (
        f"{name}: {qps:g}/s x {service.demand_ms:.2f} ms = {qps * service.demand_ms / 1000:.1f} cores, / "
        f"({hardware.cores} x {hardware.utilisation:g}); its one event loop: {qps:g}/s x "
        f"{service.loop_ms:.2f} ms / {hardware.utilisation:g}; the larger, rounded up, is {service.working}"
    )


def _memory_reason(plan: Plan) -> str:
    stored = plan.cluster.stored
    if stored.quantization == "none":
        how = (
            f"{stored.vectors:,} vectors x {stored.dimension} x 4 bytes x {storage.QDRANT_OVERHEAD:g} "
            f"(Qdrant, Capacity Planning), HNSW's links of {gigabytes(stored.link_bytes)} in it"
        )
    else:
        per = storage.QUANTIZED_BYTES[stored.quantization]
        how = (
            f"({stored.vectors:,} x {stored.dimension} x {per:g} bytes + links "
            f"{gigabytes(stored.link_bytes)} + {storage.POINT_BYTES} bytes a point) x "
            f"{storage.QDRANT_OVERHEAD:g}, the float32 vectors on disk"
        )
    return f"memory, {_KINDS[stored.quantization]}: {how} = {gigabytes(stored.memory_bytes)}, x copies"


def document(plans: Sequence[Plan], profile: Profile, simulated: dict[str, float] | None) -> dict[str, Any]:
    """The same as JSON values."""
    first = plans[0]
    services = {
        name: {**dataclasses.asdict(service), "replicas": service.replicas}
        for name, service in (("encoder", first.encoder), ("search", first.search))
    }
    return {
        "load": dataclasses.asdict(first.load),
        "hardware": dataclasses.asdict(first.hardware),
        **services,
        "ingest_hours": first.ingest_hours,
        "qdrant": {
            plan.cluster.stored.quantization: {
                "nodes": plan.cluster.nodes,
                "shards": plan.cluster.shards,
                "replication_factor": plan.cluster.copies,
                "memory_bytes": plan.cluster.memory_bytes,
                "disk_bytes": plan.cluster.disk_bytes,
                "query_ms": plan.cluster.query_ms,
            }
            for plan in plans
        },
        "simulated": simulated,
        "profile": profile.document(),
        "reasons": reasons(plans, profile),
    }


def gigabytes(count: float) -> str:
    """As memory and disks are sold: 10**9 bytes."""
    return f"{count / 1e9:,.1f} GB" if count < 100e9 else f"{count / 1e9:,.0f} GB"


def _hours(hours: float) -> str:
    return (
        f"{hours * 60:.0f} minutes"
        if hours < 1
        else f"{hours:,.1f} hours"
        if hours < 48
        else f"{hours / 24:,.1f} days"
    )
