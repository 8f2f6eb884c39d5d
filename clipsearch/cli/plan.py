"""`clipsearch plan`: what a load needs, from measured costs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli.options import Json
from clipsearch.cli.output import print_json, stdout
from clipsearch.cli.problems import Problem

if TYPE_CHECKING:
    from clipsearch.plan.profile import Profile
    from clipsearch.plan.sizing import Plan
    from clipsearch.plan.storage import Quantization

_POWERS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "B": 10**9, "T": 10**12}
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGBT]?)", re.IGNORECASE)


def plan(
    images: Annotated[str, typer.Option(metavar="N", help="Pictures in the collection: 200K, 50M, 1.5B.")],
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
    payload_bytes: Annotated[int, typer.Option(help="Bytes of a point's payload.")] = 300,
    cores: Annotated[int, typer.Option(help="Cores of a replica of either service.")] = 2,
    node_cores: Annotated[int, typer.Option(help="Cores of a Qdrant node.")] = 8,
    node_memory: Annotated[str, typer.Option(metavar="BYTES", help="Memory of a Qdrant node.")] = "64G",
    copies: Annotated[int, typer.Option(help="Least copies of the data (replication factor).")] = 2,
    utilisation: Annotated[float, typer.Option(help="How busy CPUs may be at the peak, 0 to 1.")] = 0.6,
    explain: Annotated[bool, typer.Option("--explain", help="Say how each number comes about.")] = False,
    json: Json = False,
) -> None:
    """Says what a load needs: replicas, Qdrant nodes and shards, memory, disk; with and without quantisation.

    CPU needs come from a profile that was measured with one model on one machine, bytes from Qdrant's
    documented formulas. With SimPy (pip install 'clipsearch[plan]') the latency is simulated too.

    Examples:

      clipsearch plan --images 50M --qps 500

      clipsearch plan --images 2M --qps 80 --profile build/load/profile.json --explain
    """
    from clipsearch.cli.plan_table import document, show
    from clipsearch.plan.profile import choose
    from clipsearch.plan.sizing import Hardware, Load
    from clipsearch.plan.sizing import plan as make

    load = Load(_count("images", images), qps, _count("texts", texts), payload_bytes)
    hardware = Hardware(cores, node_cores, _count("node-memory", node_memory), utilisation, copies)
    chosen = choose(model, profile)
    kinds: tuple[Quantization, ...] = ("none", "scalar", "binary")
    plans = [make(load, hardware, chosen, kind) for kind in kinds]
    simulated = _simulated(plans, chosen)
    if json:
        print_json(document(plans, chosen, simulated))
    else:
        show(stdout(), plans, chosen, simulated, explain=explain)


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
