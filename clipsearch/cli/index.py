"""`clipsearch index`: a folder of pictures into a collection."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipsearch.cli.access import access
from clipsearch.cli.options import DEFAULT_COLLECTION, DEFAULT_SERVER, Collection, Json, Server
from clipsearch.cli.output import plain, print_json, stderr
from clipsearch.cli.problems import Problem

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from clipsearch.aio import AsyncClient
    from clipsearch.credentials import ClientTls
    from clipsearch.ingest import Ingest, IngestReport

_CALL_TIMEOUT_S = 120.0
_SHOWN_FAILURES = 50


def index(
    folder: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, readable=True, help="A folder of pictures.")
    ],
    collection: Collection = DEFAULT_COLLECTION,
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """Indexes the pictures in and below a folder; makes the collection if there is none.

    What is indexed already is known by its content and skipped, so a run that was stopped is
    resumed by starting it again. A file that cannot be read does not stop the others: such files
    are listed at the end. Ctrl-C finishes the batches under way; a second one stops at once.

    Exit code 0 when every file was dealt with (some may have been bad), 1 when none could be
    indexed or the service failed, 130 after Ctrl-C.

    Examples:

      clipsearch index ~/Pictures

      clipsearch index ./catalogue --collection shoes --json
    """
    try:
        report = asyncio.run(index_folder(folder, collection, server, **access()))
    except asyncio.CancelledError:  # the second Ctrl-C
        raise typer.Exit(130) from None
    if json:
        print_json(_as_json(report))
    else:
        _summarise(report)
    if report.interrupted:
        raise typer.Exit(130)
    if report.failures and not report.indexed and not report.already:
        raise typer.Exit(1)


async def index_folder(
    folder: Path, collection: str, server: str, token: str | None = None, tls: ClientTls | None = None
) -> IngestReport:
    """Indexes a folder, with a progress bar on stderr. Raises Problem if there is nothing to index."""
    from clipsearch.aio import AsyncClient
    from clipsearch.ingest import Ingest, IngestStopped, Progress
    from clipsearch.sources import find_pictures

    total = await asyncio.to_thread(lambda: sum(1 for _ in find_pictures(folder)))
    if not total:
        raise Problem(f"{folder} holds no pictures (told by suffix: .jpg, .png, .webp, .gif, .bmp, .tiff)")
    async with AsyncClient(server, timeout=_CALL_TIMEOUT_S, token=token, tls=tls) as client:
        await _make_collection(client, collection)
        with _bar() as bar:
            task = bar.add_task("indexing", total=total, failed="")

            def show(progress: Progress) -> None:
                failed = f"{progress.failed} failed" if progress.failed else ""
                bar.update(task, completed=progress.done, failed=failed)

            run = Ingest(client, collection, find_pictures(folder), total=total, on_progress=show)
            _stop_on_interrupt(run)
            try:
                return await run.run()
            except IngestStopped as stopped:
                bar.stop()
                _summarise(stopped.report)
                raise stopped.cause from None


async def _make_collection(client: AsyncClient, collection: str) -> None:
    from clipsearch.errors import ClipSearchError
    from clipsearch.sources import PICTURE_INDEXES

    try:
        await client.get_collection(collection)
        return
    except ClipSearchError as error:
        if error.code != "NOT_FOUND":
            raise
    try:
        await client.create_collection(collection, payload_indexes=PICTURE_INDEXES)
    except ClipSearchError as error:
        if error.code != "ALREADY_EXISTS":  # someone else made it meanwhile
            raise
    else:
        stderr().print(f"made collection {plain(collection)}")


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
        f"{len(report.failures):,} failed in {report.elapsed_s:.1f} s ({rate:.1f} new pictures a second)"
    )
    for failure in report.failures[:_SHOWN_FAILURES]:
        console.print(f"  [red]failed[/red] {plain(failure.path)}: {plain(failure.reason)}")
    if len(report.failures) > _SHOWN_FAILURES:
        console.print(f"  and {len(report.failures) - _SHOWN_FAILURES:,} more; --json lists all")


def _as_json(report: IngestReport) -> dict[str, Any]:
    return {
        "indexed": report.indexed,
        "already": report.already,
        "failed": [{"path": str(f.path), "reason": f.reason} for f in report.failures],
        "interrupted": report.interrupted,
        "elapsed_s": round(report.elapsed_s, 3),
    }
