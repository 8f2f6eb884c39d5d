"""A run of `clipsearch index`: the collection made, Ctrl-C obeyed, what is gone removed once agreed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from json import dumps as json_text
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from clipsearch.cli.shared.output import is_terminal, plain, progress_bar, stderr
from clipsearch.cli.shared.problems import Problem
from clipsearch.display.text import counted, cut

if TYPE_CHECKING:
    from types import FrameType

    from clipsearch.channel.credentials import ClientTls
    from clipsearch.client.aio import AsyncClient
    from clipsearch.client.inputs import CollectionOptions
    from clipsearch.ingest import Failure, Ingest, IngestReport, Source

_SHOWN_FAILURES = 50
_LONGEST_REASON = 200


async def index_source(
    source: Source,
    collection: str,
    server: str,
    *,
    checkpoint: Path | None = None,
    fingerprint: str = "",
    failures: Path | None = None,
    pruning: Pruning | None = None,
    stops: Callable[[Ingest | None], None] = lambda run: None,
    token: str | None = None,
    tls: ClientTls | None = None,
) -> IngestReport:
    """Indexes a source, with a progress bar on stderr. `stops` hears what Ctrl-C should stop.

    Raises what Ingest.run raises, and Problem.
    """
    from clipsearch.client.aio import AsyncClient
    from clipsearch.ingest import Ingest, IngestStopped, Progress
    from clipsearch.ingest.run import CALL_TIMEOUT_S

    total = await asyncio.to_thread(source.prepare)
    async with AsyncClient(server, timeout=CALL_TIMEOUT_S, token=token, tls=tls) as client:
        if total:
            await _make_collection(client, collection, source, fingerprint, checkpoint)
        else:
            await client.get_collection(collection)  # there are points to remove, or nothing to do
        opened = nullcontext() if failures is None else failures.open("w", encoding="utf-8", errors="replace")
        with opened as file, progress_bar() as bar:
            task = bar.add_task("indexing", total=total, note="")

            def note(failure: Failure) -> None:
                if file is not None:
                    print(json_text(asdict(failure), ensure_ascii=False), file=file, flush=True)

            def show(progress: Progress) -> None:
                failed = f" [red]{progress.failed:,} failed" if progress.failed else ""
                bar.update(task, completed=progress.done, note=f"{progress.rate:.1f}/s{failed}")

            run = Ingest(
                client,
                collection,
                source,
                checkpoint=checkpoint,
                fingerprint=fingerprint,
                on_progress=show,
                on_failure=note,
            )
            stops(run)
            try:
                report = await run.run()
            except IngestStopped as stopped:
                bar.stop()
                summarise(stopped.report, source)
                raise stopped.cause from None
        stops(None)
        if pruning is None or not pruning.times or not _agreed(source, report, pruning):
            return report
        stops(run)
        return replace(report, pruned=await run.prune())


def _agreed(source: Source, report: IngestReport, pruning: Pruning) -> bool:
    """Whether to remove what is gone. Raises Problem where the source may only seem to be empty."""
    if report.interrupted:
        return False
    dealt_with = report.failed + report.already + report.indexed + report.updated + report.merged
    if report.total == 0 or dealt_with == 0:
        where = plain_name(source)
        seen = "".join(f"; {plain(remark)}" for remark in remarks(source))
        if not report.gone and not (report.shared and pruning.times > 1):
            raise Problem(f"{where} is missing or empty, and there is no point to remove{seen}")
        if pruning.times < 2:
            raise Problem(
                f"{where} is missing or empty, and {counted(report.gone, 'point')} came from it{seen}. "
                "Nothing was removed: a drive may not be connected. "
                "If it is meant to be so, give --prune twice"
            )
    if not report.gone:
        return report.shared > 0 and pruning.times > 1  # nothing is removed: other lists have them
    if report.uncertain and pruning.times < 2:
        return False
    if pruning.yes:
        return True
    try:
        agreed = typer.confirm(
            f"Remove {counted(report.gone, 'point')} that {plain_name(source)} no longer has?",
            err=True,
        )
    except typer.Abort:  # nobody there to answer
        typer.echo(err=True)
        return False
    pruning.declined = not agreed
    return agreed


def plain_name(source: Source) -> str:
    """The folder or file, for people."""
    return plain(getattr(source, "folder", None) or getattr(source, "file", "the source"))


async def _make_collection(
    client: AsyncClient, collection: str, source: Source, fingerprint: str, checkpoint: Path | None
) -> None:
    """Makes the collection if there is none: for the encoder's model, or for the vectors' space."""
    from clipsearch.client.errors import ClipSearchError
    from clipsearch.ingest import PictureFolder
    from clipsearch.ingest.folders import IMAGE_INDEXES

    options: CollectionOptions = {}
    if isinstance(source, PictureFolder):
        options["payload_indexes"] = IMAGE_INDEXES
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
def obeying_interrupts() -> Iterator[Callable[[Ingest | None], None]]:
    """Ctrl-C: the first one stops the run gently; a second one, or one before the run, ends the process.

    It ends at once whatever hangs: a thread that reads from a dead drive cannot be stopped otherwise.
    Yields what is told, in the loop that runs, what the next Ctrl-C stops; None = the process.
    """
    stop: Callable[[], object] | None = None

    def stops(run: Ingest | None) -> None:
        nonlocal stop
        loop = asyncio.get_running_loop()
        stop = None if run is None else partial(loop.call_soon_threadsafe, run.stop)

    def interrupted(number: int, frame: FrameType | None) -> None:
        nonlocal stop
        stopping, stop = stop, None
        if stopping is None:
            if is_terminal(sys.stderr):
                sys.stderr.write("\x1b[?25h\n")  # the bar had hidden the cursor
            sys.stderr.flush()
            sys.stdout.flush()
            os._exit(130)
        sys.stderr.write("\nstopping: finishing the batches under way (Ctrl-C again stops at once)\n")
        stopping()

    before = signal.signal(signal.SIGINT, interrupted)
    try:
        yield stops
    finally:
        signal.signal(signal.SIGINT, before)


@dataclass(slots=True)
class Pruning:
    """Whether to remove what is gone: `times` told so, `yes` without asking.

    `declined` is set where somebody was asked and said no.
    """

    times: int = 0
    yes: bool = False
    declined: bool = False


def summarise(report: IngestReport, source: Source, pruning: Pruning | None = None) -> None:
    """Prints the counts, what was left out or is gone, and the failures."""
    console = stderr()
    rate = report.indexed / report.elapsed_s if report.elapsed_s > 0 else 0.0
    ended = "stopped early: " if report.interrupted else ""
    counts = [
        f"{report.indexed:,} indexed",
        f"{report.updated:,} updated" if report.updated else "",
        f"{report.already:,} there already",
        f"{report.merged:,} merged with equal ones" if report.merged else "",
        f"{report.failed:,} failed",
    ]
    console.print(
        f"{ended}{', '.join(filter(None, counts))} in {report.elapsed_s:.1f} s ({rate:,.1f} new a second)"
    )
    if report.replaced:
        console.print(f"{counted(report.replaced, 'point')} removed: other content stands there now")
    if report.gone:
        console.print(_gone(report, pruning))
    if report.shared and pruning is not None and pruning.times > 1:
        console.print(f"{counted(report.shared, 'point')} left to other lists that have the same")
    for remark in remarks(source):
        console.print(plain(remark))
    for failure in report.failures[:_SHOWN_FAILURES]:
        # It may quote a path or a cell of any length; --failures has all of it.
        reason = cut(failure.reason, _LONGEST_REASON)
        console.print(f"  [red]failed[/red] {plain(failure.place)}: {plain(reason)}")
    if report.failed > _SHOWN_FAILURES:
        console.print(f"  and {report.failed - _SHOWN_FAILURES:,} more; --failures FILE lists all")


def remarks(source: Source) -> list[str]:
    """What a source has to say of how it was read; sources of vectors have nothing."""
    return list(getattr(source, "remarks", list)())


def _gone(report: IngestReport, pruning: Pruning | None) -> str:
    if report.pruned:
        return f"{counted(report.pruned, 'point')} removed: no longer there"
    are = "is" if report.gone == 1 else "are"
    gone = f"{counted(report.gone, 'point')} of this source {are} no longer there"
    if pruning is None or not pruning.times:
        return f"{gone}; --prune removes {'it' if report.gone == 1 else 'them'}"
    if pruning.declined:
        return f"{gone}; nothing was removed"
    if report.uncertain:
        return (
            f"{gone}, or belong to the {report.uncertain:,} rows that cannot be read; "
            "nothing was removed; --prune twice removes them"
        )
    return f"{gone}; nothing was removed, for nobody said yes; --yes removes without asking"
