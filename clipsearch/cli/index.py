"""`clipsearch index`: a folder of pictures, a list, or vectors into a collection."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from json import dumps as json_text
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from clipsearch.cli.access import access
from clipsearch.cli.options import DEFAULT_COLLECTION, DEFAULT_SERVER, Collection, Json, Server
from clipsearch.cli.output import plain, print_json, stderr
from clipsearch.cli.problems import Problem

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from clipsearch.aio import AsyncClient
    from clipsearch.credentials import ClientTls
    from clipsearch.ingest import Failure, Ingest, IngestReport, Source
    from clipsearch.inputs import CollectionOptions

_SHOWN_FAILURES = 50


def index(
    source: Annotated[
        Path,
        typer.Argument(
            exists=True,
            readable=True,
            help="A folder of pictures, a list (.jsonl, .csv, .tsv, .parquet), or vectors (.npy).",
        ),
    ],
    id: Annotated[
        str | None, typer.Option("--id", metavar="COLUMN", help="Column of ids.", show_default="id")
    ] = None,
    path: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column of pictures' paths.", show_default="path")
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
            metavar="FILE", help="For lists and vectors: notes what is done; a later run goes on from there."
        ),
    ] = None,
    failures: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write every failure there, as JSON lines.")
    ] = None,
    collection: Collection = DEFAULT_COLLECTION,
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """Indexes a folder of pictures, a list, or ready-made vectors; makes the collection if there is none.

    What is indexed already is skipped, so a run that was stopped is resumed by starting it again:
    pictures and texts are known by their content, rows with an id of their own by a hash of all they
    hold, so that only rows that changed are written. Vectors are sent again unless a --checkpoint
    says that they are there. A list is checked before anything is written. An item that cannot be
    read does not stop the others: such items are listed at the end. Ctrl-C finishes the batches
    under way; a second one stops at once.

    Exit code 0 when every item was dealt with (some may have been bad), 1 when none could be
    indexed or the service failed, 130 after Ctrl-C.

    Examples:

      clipsearch index ~/Pictures

      clipsearch index catalogue.csv --id sku --path photo --text title --collection shoes

      clipsearch index vectors.npy --ids ids.txt --side image --checkpoint load.json
    """
    from clipsearch.cli.index_source import Columns, open_source

    what = open_source(source, Columns(id, path, text, payload or (), type or ()), ids, side)
    try:
        report = asyncio.run(
            index_source(
                what,
                collection,
                server,
                checkpoint=checkpoint,
                fingerprint=fingerprint,
                failures=failures,
                **access(),
            )
        )
    except asyncio.CancelledError:  # the second Ctrl-C
        raise typer.Exit(130) from None
    if json:
        print_json(_as_json(report))
    else:
        _summarise(report)
    if report.interrupted:
        raise typer.Exit(130)
    if report.failed and not report.indexed and not report.already:
        raise typer.Exit(1)


async def index_source(
    source: Source,
    collection: str,
    server: str,
    *,
    checkpoint: Path | None = None,
    fingerprint: str = "",
    failures: Path | None = None,
    token: str | None = None,
    tls: ClientTls | None = None,
) -> IngestReport:
    """Indexes a source, with a progress bar on stderr. Raises what Ingest.run raises."""
    from clipsearch.aio import AsyncClient
    from clipsearch.ingest import Ingest, IngestStopped, Progress
    from clipsearch.ingest.blocking import CALL_TIMEOUT_S

    total = await asyncio.to_thread(source.prepare)
    async with AsyncClient(server, timeout=CALL_TIMEOUT_S, token=token, tls=tls) as client:
        await _make_collection(client, collection, source, fingerprint, checkpoint)
        with _failure_file(failures) as note, _bar() as bar:
            task = bar.add_task("indexing", total=total, failed="")

            def show(progress: Progress) -> None:
                failed = f"{progress.failed:,} failed" if progress.failed else ""
                bar.update(task, completed=progress.done, failed=failed)

            run = Ingest(
                client,
                collection,
                source,
                checkpoint=checkpoint,
                fingerprint=fingerprint,
                on_progress=show,
                on_failure=note,
            )
            _stop_on_interrupt(run)
            try:
                return await run.run()
            except IngestStopped as stopped:
                bar.stop()
                _summarise(stopped.report)
                raise stopped.cause from None


async def _make_collection(
    client: AsyncClient, collection: str, source: Source, fingerprint: str, checkpoint: Path | None
) -> None:
    """Makes the collection if there is none: for the encoder's model, or for the vectors' space."""
    from clipsearch.errors import ClipSearchError
    from clipsearch.ingest import PictureFolder
    from clipsearch.ingest.pictures import PICTURE_INDEXES

    options: CollectionOptions = {}
    if isinstance(source, PictureFolder):
        options["payload_indexes"] = PICTURE_INDEXES
    if source.dimension is not None:
        options |= {"dimension": source.dimension, "fingerprint": fingerprint}
    try:
        await client.get_collection(collection)
        return
    except ClipSearchError as error:
        if error.code != "NOT_FOUND":
            raise
    if checkpoint is not None and await asyncio.to_thread(checkpoint.exists):
        raise Problem(
            f"there is no collection {collection!r}, and {checkpoint} tells of one that is loaded in part; "
            "delete the checkpoint to begin anew"
        )
    if source.dimension is not None and not fingerprint:
        raise Problem(
            f"there is no collection {collection!r}, and vectors do not say which model they come from: "
            "give its --fingerprint, or make the collection (clipsearch collections create)"
        )
    try:
        await client.create_collection(collection, **options)
    except ClipSearchError as error:
        if error.code != "ALREADY_EXISTS":  # someone else made it meanwhile
            raise
    else:
        stderr().print(f"made collection {plain(collection)}")


@contextmanager
def _failure_file(path: Path | None) -> Iterator[Callable[[Failure], None]]:
    """Takes failures, and writes each as a line of JSON as it comes."""
    if path is None:
        yield lambda failure: None
        return
    with path.open("w", encoding="utf-8") as file:
        yield lambda failure: print(json_text(_failure(failure), ensure_ascii=False), file=file, flush=True)


def _stop_on_interrupt(run: Ingest) -> None:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()

    def interrupted() -> None:
        stderr().print("stopping: finishing the batches under way (Ctrl-C again stops at once)")
        run.stop()
        if task is not None:
            loop.remove_signal_handler(signal.SIGINT)
            loop.add_signal_handler(signal.SIGINT, task.cancel)

    loop.add_signal_handler(signal.SIGINT, interrupted)


def _bar() -> Bar:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )

    class Rate(ProgressColumn):
        def render(self, task: Task) -> str:
            average = task.completed / task.elapsed if task.elapsed else None
            speed = task.finished_speed or task.speed or average
            return f"{speed:.1f}/s" if speed else "-/s"

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
        TextColumn("[red]{task.fields[failed]}"),
        console=stderr(),
    )


def _summarise(report: IngestReport) -> None:
    console = stderr()
    rate = report.indexed / report.elapsed_s if report.elapsed_s > 0 else 0.0
    ended = "stopped early: " if report.interrupted else ""
    console.print(
        f"{ended}{report.indexed:,} indexed, {report.already:,} there already, "
        f"{report.failed:,} failed in {report.elapsed_s:.1f} s ({rate:,.1f} new a second)"
    )
    for failure in report.failures[:_SHOWN_FAILURES]:
        console.print(f"  [red]failed[/red] {plain(failure.place)}: {plain(failure.reason)}")
    if report.failed > _SHOWN_FAILURES:
        console.print(f"  and {report.failed - _SHOWN_FAILURES:,} more; --failures FILE lists all")


def _as_json(report: IngestReport) -> dict[str, Any]:
    return {
        "total": report.total,
        "indexed": report.indexed,
        "already": report.already,
        "failed": report.failed,
        "failures": [_failure(failure) for failure in report.failures],
        "interrupted": report.interrupted,
        "elapsed_s": round(report.elapsed_s, 3),
    }


def _failure(failure: Failure) -> dict[str, Any]:
    return {"place": failure.place, "id": failure.id, "reason": failure.reason}
