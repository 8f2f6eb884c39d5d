"""`clipsearch collections update`: settings of a collection that is there."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from clipsearch.cli.shared.access import connect
from clipsearch.cli.shared.options import DEFAULT_SERVER, Server, json_values
from clipsearch.cli.shared.output import plain, stderr

_HNSW, _QUANTIZATION, _CLUSTER = "HNSW graph", "Quantization", "On a Qdrant server"


def update(
    name: Annotated[str, typer.Argument(help="Collection or alias.")],
    hnsw_m: Annotated[int | None, typer.Option(help="Edges a node.", rich_help_panel=_HNSW)] = None,
    hnsw_ef_construct: Annotated[
        int | None, typer.Option(help="Beam while building.", rich_help_panel=_HNSW)
    ] = None,
    full_scan_threshold_kb: Annotated[
        int | None,
        typer.Option(help="Kilobytes of vectors that are compared one by one.", rich_help_panel=_HNSW),
    ] = None,
    hnsw_on_disk: Annotated[
        bool | None,
        typer.Option("--hnsw-on-disk/--hnsw-in-memory", help="Where the graph is.", rich_help_panel=_HNSW),
    ] = None,
    quantization: Annotated[
        Literal["none", "scalar", "binary", "product", "turbo"] | None,
        typer.Option(help="Compression of the vectors in memory.", rich_help_panel=_QUANTIZATION),
    ] = None,
    quantization_param: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="always_ram, quantile, encoding, query_encoding, compression or bits; repeatable.",
            rich_help_panel=_QUANTIZATION,
        ),
    ] = None,
    on_disk: Annotated[bool | None, typer.Option("--on-disk/--in-memory", help="Where vectors are.")] = None,
    payload_on_disk: Annotated[
        bool | None, typer.Option("--payload-on-disk/--payload-in-memory", help="Where payloads are.")
    ] = None,
    replicas: Annotated[
        int | None, typer.Option(help="Replicas of each shard.", rich_help_panel=_CLUSTER)
    ] = None,
    write_consistency: Annotated[
        int | None,
        typer.Option(help="Replicas that must acknowledge a write.", rich_help_panel=_CLUSTER),
    ] = None,
    optimizer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="indexing_threshold_kb, max_segment_size_kb, default_segment_number, deleted_threshold, "
            "vacuum_min_vector_number or max_optimization_threads; repeatable.",
            rich_help_panel=_CLUSTER,
        ),
    ] = None,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Changes settings of a collection; what is not given stays. The index is built anew in the background.

    Examples:

      clipsearch collections update shoes --hnsw-m 32

      clipsearch collections update shoes --quantization scalar --quantization-param quantile=0.99 --on-disk
    """
    with connect(server) as client:
        client.update_collection(
            name,
            hnsw_m=hnsw_m,
            hnsw_ef_construct=hnsw_ef_construct,
            hnsw_full_scan_threshold_kb=full_scan_threshold_kb,
            hnsw_on_disk=hnsw_on_disk,
            quantization=quantization,
            quantization_params=json_values(quantization_param, "--quantization-param") or None,
            on_disk_vectors=on_disk,
            on_disk_payload=payload_on_disk,
            replication_factor=replicas,
            write_consistency_factor=write_consistency,
            optimizers=json_values(optimizer, "--optimizer") or None,
        )
    stderr().print(f"{plain(name)} is changed; what is to be built anew is built in the background")
