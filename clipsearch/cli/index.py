"""`clipsearch index`: a folder of images, a list, or vectors into a collection."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from clipsearch.cli.shared.access import access
from clipsearch.cli.shared.options import DEFAULT_COLLECTION, DEFAULT_SERVER, Collection, Json, Server, a_path
from clipsearch.cli.shared.output import print_json


def index(
    source: Annotated[
        Path,
        typer.Argument(
            parser=a_path,
            metavar="SOURCE",
            help="A folder of images, a list (.jsonl, .csv, .tsv, .parquet), or vectors (.npy).",
        ),
    ],
    id: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column of ids.", show_default="id")
    ] = None,
    path: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column of images' paths.", show_default="path")
    ] = None,
    text: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column of texts.", show_default="text")
    ] = None,
    payload: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Column to keep; repeatable.", show_default="all others"),
    ] = None,
    type: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN=TYPE",
            help="Type of a CSV column: string, integer, float or bool; repeatable.",
            show_default="by its cells",
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="Files and folders to leave out, by name, or with a slash by path below the folder; "
            "* stands for anything. Repeatable. @eaDir, #recycle, .thumbnails and their kind always are.",
        ),
    ] = None,
    prune: Annotated[
        int,
        typer.Option(
            "--prune",
            count=True,
            help="Remove what the folder or list no longer has from the collection, after asking. "
            "Twice: also if the source is missing or empty.",
            show_default=False,
        ),
    ] = 0,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove without asking.")] = False,
    ids: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Ids of vectors: a text file, one a line, or a list; its other columns become payload.",
        ),
    ] = None,
    side: Annotated[
        Literal["image", "text"] | None,
        typer.Option(help="Which vectors of the points the .npy holds.", show_default="image"),
    ] = None,
    fingerprint: Annotated[
        str, typer.Option(help="The space of the vectors; refused if the collection has another.")
    ] = "",
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            parser=a_path,
            metavar="FILE",
            help="For lists and vectors: notes what is done; a later run goes on from there.",
        ),
    ] = None,
    failures: Annotated[
        Path | None,
        typer.Option(parser=a_path, metavar="FILE", help="Write every failure there, as JSON lines."),
    ] = None,
    collection: Collection = DEFAULT_COLLECTION,
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """Brings a collection up to date with a folder of images or a list, or loads ready-made vectors.

    Makes the collection if there is none. What is indexed already is skipped, so a run that was
    stopped is resumed by starting it again. An image that was moved keeps its point, one that was
    overwritten gets a new one. What is no longer there stays until --prune. Vectors are sent again
    unless a --checkpoint says that they are there. A row or image that cannot be read fails alone:
    such items are listed at the end. Ctrl-C finishes the batches under way; a second one stops at once.

    Exit code 0 when every item was dealt with (some may have been bad), 1 when none could be
    indexed, the service failed, or --prune removed nothing of what is gone, 130 after Ctrl-C.

    Examples:

      clipsearch index ~/Pictures

      clipsearch index ~/Pictures --prune --exclude drafts --exclude '*.gif'

      clipsearch index catalogue.csv --id sku --path photo --text title --collection shoes

      clipsearch index vectors.npy --ids ids.txt --side image --checkpoint load.json
    """
    from clipsearch.cli.shared.index_run import Pruning, index_source, obeying_interrupts, remarks, summarise
    from clipsearch.cli.shared.index_source import check_failures, check_writable, open_source

    check_failures(failures, source, ids, checkpoint)
    check_writable(failures, checkpoint)
    what = open_source(
        source,
        allow_empty=prune > 0,
        id=id,
        path=path,
        text=text,
        payload=payload,
        type=type,
        ids=ids,
        side=side,
        exclude=exclude,
    )
    pruning = Pruning(prune, yes)
    with obeying_interrupts() as stops:
        report = asyncio.run(
            index_source(
                what,
                collection,
                server,
                checkpoint=checkpoint,
                fingerprint=fingerprint,
                failures=failures,
                pruning=pruning,
                stops=stops,
                **access(),
            )
        )
    if json:
        elapsed_s = round(report.elapsed_s, 3)
        print_json({**asdict(report), "elapsed_s": elapsed_s, "remarks": remarks(what)})
    else:
        summarise(report, what, pruning)
    if report.interrupted:
        raise typer.Exit(130)
    unpruned = prune and report.gone > report.pruned and not pruning.declined
    if unpruned or (report.failed and report.failed == report.total):
        raise typer.Exit(1)
