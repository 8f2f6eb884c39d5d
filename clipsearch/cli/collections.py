"""`clipsearch collections`: list, create, show, delete, aliases and successors."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from clipsearch.cli.collection_indexes import index, read_indexes, written
from clipsearch.cli.collection_update import update
from clipsearch.cli.shared.access import connect
from clipsearch.cli.shared.options import DEFAULT_SERVER, Json, Server
from clipsearch.cli.shared.output import plain, print_json, size, stderr, stdout, table

if TYPE_CHECKING:
    from clipsearch.client.sync import Client
    from clipsearch.client.types import Collection

app = typer.Typer(invoke_without_command=True, help="Lists, creates, shows and deletes collections.")

_HNSW, _QUANTIZATION = "HNSW graph", "Quantization"
_CLUSTER, _READY_VECTORS = "On a Qdrant server", "For ready vectors, without an encoder (both or none)"

Name = Annotated[str, typer.Argument(help="Name of the collection.")]

app.command()(index)
app.command()(update)


@app.callback()
def list_all(context: typer.Context, server: Server = DEFAULT_SERVER, json: Json = False) -> None:
    """Without a command: lists the collections.

    Examples:

      clipsearch collections

      clipsearch collections create shoes --index brand=keyword --index price=float

      clipsearch collections create goods --bm25 title

      clipsearch collections show shoes

      clipsearch collections alias shop shoes

      clipsearch collections delete shoes
    """
    if context.invoked_subcommand is not None:
        return
    with connect(server) as client:
        found = client.list_collections()
    if json:
        print_json([dataclasses.asdict(collection) for collection in found])
        return
    if not found:
        stdout().print("no collections yet; `clipsearch index FOLDER` makes one")
        return
    rows = table("name", "points>", "images>", "texts>", "dimension>", "model", "aliases")
    for c in found:
        counts = [f"{c.points:,}", f"{c.image_vectors:,}", f"{c.text_vectors:,}", str(c.dimension)]
        cells = [*["-"] * 4, "damaged"] if c.damage else [*counts, plain(c.model)]
        rows.add_row(plain(c.name), *cells, plain(", ".join(c.aliases)))
    stdout().print(rows)
    for c in found:
        if c.damage:
            stderr().print(f"{plain(c.name)} is damaged: {plain(c.damage)}")
        elif c.shard_number > 1 and c.replication_factor == 1:
            stderr().print(
                f"{plain(c.name)} has one copy of each of its {c.shard_number} shards: a node that is lost "
                "takes its points along (`--replicas 2` when a collection is created)"
            )


@app.command()
def create(
    name: Name,
    index: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=TYPE",
            help="A payload index, as `clipsearch collections index` makes one. Repeatable.",
        ),
    ] = None,
    bm25: Annotated[
        str,
        typer.Option(
            metavar="FIELD", help="The payload field whose words can be looked up: `search --hybrid`."
        ),
    ] = "",
    quantization: Annotated[
        Literal["none", "scalar", "binary", "product", "turbo"],
        typer.Option(help="Compression of the vectors in memory.", rich_help_panel=_QUANTIZATION),
    ] = "none",
    always_ram: Annotated[
        bool,
        typer.Option(
            "--always-ram", help="Keep the compressed vectors in memory.", rich_help_panel=_QUANTIZATION
        ),
    ] = False,
    quantile: Annotated[
        float,
        typer.Option(help="scalar: share of the numbers that int8 spans.", rich_help_panel=_QUANTIZATION),
    ] = 0.0,
    encoding: Annotated[
        Literal["one_bit", "one_and_half_bits", "two_bits"] | None,
        typer.Option(help="binary: bits a dimension.", rich_help_panel=_QUANTIZATION),
    ] = None,
    query_encoding: Annotated[
        Literal["default", "binary", "scalar4bits", "scalar8bits"] | None,
        typer.Option(help="binary: compression of the query.", rich_help_panel=_QUANTIZATION),
    ] = None,
    compression: Annotated[
        int,
        typer.Option(help="product: times smaller, 4 to 64; 0 = 16.", rich_help_panel=_QUANTIZATION),
    ] = 0,
    bits: Annotated[
        float, typer.Option(help="turbo: bits a dimension, 1 to 8.", rich_help_panel=_QUANTIZATION)
    ] = 0.0,
    hnsw_m: Annotated[int, typer.Option(help="Edges a node.", rich_help_panel=_HNSW)] = 0,
    hnsw_ef_construct: Annotated[int, typer.Option(help="Beam while building.", rich_help_panel=_HNSW)] = 0,
    full_scan_threshold_kb: Annotated[
        int, typer.Option(help="Kilobytes of vectors that are compared one by one.", rich_help_panel=_HNSW)
    ] = 0,
    hnsw_on_disk: Annotated[
        bool, typer.Option("--hnsw-on-disk", help="Keep the graph on disk.", rich_help_panel=_HNSW)
    ] = False,
    on_disk: Annotated[bool, typer.Option("--on-disk", help="Keep vectors on disk, not in memory.")] = False,
    payload_in_memory: Annotated[
        bool, typer.Option("--payload-in-memory", help="Keep payloads in memory, not on disk.")
    ] = False,
    shards: Annotated[int, typer.Option(help="Shards.", rich_help_panel=_CLUSTER)] = 0,
    replicas: Annotated[int, typer.Option(help="Replicas of each shard.", rich_help_panel=_CLUSTER)] = 0,
    write_consistency: Annotated[
        int, typer.Option(help="Replicas that must acknowledge a write.", rich_help_panel=_CLUSTER)
    ] = 0,
    dimension: Annotated[int, typer.Option(help="Numbers in a vector.", rich_help_panel=_READY_VECTORS)] = 0,
    fingerprint: Annotated[
        str, typer.Option(help="The space that they belong to.", rich_help_panel=_READY_VECTORS)
    ] = "",
    model: Annotated[
        str,
        typer.Option(help="Name or fingerprint of an encoder's model; default: the first's."),
    ] = "",
    server: Server = DEFAULT_SERVER,
) -> None:
    """Creates a collection for an encoder's model. Where nothing is said, 0 or none = the engine's default.

    Examples:

      clipsearch collections create shoes

      clipsearch collections create shoes --index brand=keyword --index price=float

      clipsearch collections create shoes --on-disk --quantization scalar --quantile 0.99 --always-ram
    """
    with connect(server) as client:
        made = client.create_collection(
            name,
            payload_indexes=read_indexes(index or [], "--index"),
            bm25_field=bm25,
            hnsw_m=hnsw_m,
            hnsw_ef_construct=hnsw_ef_construct,
            hnsw_full_scan_threshold_kb=full_scan_threshold_kb,
            hnsw_on_disk=hnsw_on_disk,
            quantization=quantization,
            quantization_always_ram=always_ram,
            quantization_quantile=quantile,
            quantization_encoding=encoding,
            quantization_query_encoding=query_encoding,
            quantization_compression=compression,
            quantization_bits=bits,
            on_disk_vectors=on_disk,
            on_disk_payload=not payload_in_memory,
            shard_number=shards,
            replication_factor=replicas,
            write_consistency_factor=write_consistency,
            model=model,
            dimension=dimension,
            fingerprint=fingerprint,
        )
    of = f"model {plain(made.model)}" if made.model else f"fingerprint {plain(made.fingerprint)}"
    stderr().print(f"created {plain(made.name)}: {made.dimension} dimensions, {of}")


@app.command()
def show(name: Name, server: Server = DEFAULT_SERVER, json: Json = False) -> None:
    """Describes a collection, given by name or alias."""
    with connect(server) as client:
        found = client.get_collection(name)
    if json:
        print_json(dataclasses.asdict(found))
        return
    rows = table("", "")
    rows.show_header = False
    for field, value in _facts(found):
        rows.add_row(f"[bold]{field}[/bold]", plain(value))
    stdout().print(rows)


@app.command()
def delete(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Deletes a collection, its points, and the aliases that point at it."""
    with connect(server) as client:
        if not yes:
            typer.confirm(f"Delete {name!r} with {_content(client, name)}?", abort=True, err=True)
        client.delete_collection(name)
    stderr().print(f"deleted {plain(name)}")


@app.command()
def alias(
    alias: Annotated[str, typer.Argument(help="The alias.")],
    collection: Annotated[str | None, typer.Argument(help="The collection that it shall point at.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the alias.")] = False,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Points an alias at a collection, at once for all callers, or removes it.

    Examples:

      clipsearch collections alias shop shoes-2

      clipsearch collections alias shop --remove
    """
    if remove == (collection is not None):
        raise typer.BadParameter("give a collection, or --remove")
    with connect(server) as client:
        before = client.update_alias(alias, collection)
    now = "was removed" if remove else f"points at {plain(collection)}"
    stderr().print(f"{plain(alias)} {now}" + (f" (before: {plain(before)})" if before else ""))


@app.command()
def successor(
    collection: Name,
    successor: Annotated[
        str | None, typer.Argument(help="The collection that shall get its writes too.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the link.")] = False,
    server: Server = DEFAULT_SERVER,
) -> None:
    """Lets every write to a collection go to another one too, encoded by that one's model.

    `clipsearch reindex` sets this link by itself.

    Examples:

      clipsearch collections successor shoes shoes-2

      clipsearch collections successor shoes --remove
    """
    if remove == (successor is not None):
        raise typer.BadParameter("give a successor, or --remove")
    with connect(server) as client:
        settles_s = client.set_successor(collection, successor)
    now = "has no successor" if remove else f"is written to {plain(successor)} too"
    later = f"; other replicas of the service follow within {settles_s:.0f} s" if settles_s else ""
    stderr().print(f"{plain(collection)} {now}{later}")


def _content(client: Client, name: str) -> str:
    from clipsearch.client.errors import ClipSearchError

    try:
        return f"its {client.get_collection(name).points:,} points"
    except ClipSearchError as error:
        if error.reason != "COLLECTION_DAMAGED":
            raise
        return f"what is left of it ({error.metadata['damage']})"


def _facts(c: Collection) -> list[tuple[str, str]]:
    indexes = ", ".join(f"{field} ({written(index)})" for field, index in c.payload_indexes.items())
    hnsw = [
        f"m {c.hnsw_m or 'default'}",
        f"ef_construct {c.hnsw_ef_construct or 'default'}",
        f"full scan up to kB {c.hnsw_full_scan_threshold_kb or 'default'}",
    ]
    rescored = (
        f"{c.default_candidates} points a search, or 4 times its limit" if c.default_candidates else "-"
    )
    return [
        ("name", c.name),
        ("aliases", ", ".join(c.aliases) or "-"),
        ("successor", c.successor or "-"),
        ("model", c.model or "-"),
        ("fingerprint", c.fingerprint),
        ("dimension", str(c.dimension)),
        ("points", f"{c.points:,} ({c.image_vectors:,} image vectors, {c.text_vectors:,} text vectors)"),
        ("indexed", f"{c.indexed_share:.0%}"),
        ("on disk", size(c.disk_bytes) if c.disk_bytes else "-"),
        ("payload indexes", indexes or "-"),
        ("words", f"of {c.bm25_field}" if c.bm25_field else "-"),
        ("hnsw", ", ".join([*hnsw, "on disk" if c.hnsw_on_disk else "in memory"])),
        (
            "quantization",
            ", ".join([c.quantization, *(f"{k} {v}" for k, v in c.quantization_params.items())]),
        ),
        ("rescored", rescored),
        ("vectors", "on disk" if c.on_disk_vectors else "in memory"),
        ("payload", "on disk" if c.on_disk_payload else "in memory"),
        (
            "shards",
            f"{c.shard_number}, each {c.replication_factor} times; "
            f"a write needs {c.write_consistency_factor}",
        ),
    ]
