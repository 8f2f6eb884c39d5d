"""`clipsearch reindex`: a collection into a new model's space, while it goes on serving."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipsearch.cli.eval import FailBelow, read_bounds
from clipsearch.cli.shared.access import connect_async
from clipsearch.cli.shared.options import DEFAULT_SERVER, Json, NamedCollection, Server
from clipsearch.cli.shared.output import plain, print_json, progress, stderr, stdout, table

if TYPE_CHECKING:
    from clipsearch.client.aio import AsyncClient
    from clipsearch.eval.run import Queries
    from clipsearch.reindex.backfill import Backfill, Progress
    from clipsearch.reindex.compare import Comparison
    from clipsearch.reindex.move import Move
    from clipsearch.reindex.sources import Fields
    from clipsearch.reindex.verify import Verification

_KS = (1, 10)
_SHOWN_LACKING = 50
_SHOWN_EXAMPLES = 3


def reindex(
    collection: NamedCollection,
    model: Annotated[
        str,
        typer.Option(
            help="The new model: name or fingerprint; one of the search service's two encoders has it."
        ),
    ],
    to: Annotated[
        str,
        typer.Option(metavar="NAME", help="Name of the new collection; default: the old and the model."),
    ] = "",
    path_field: Annotated[str, typer.Option(help="Payload field with an image's path.")] = "path",
    text_field: Annotated[str, typer.Option(help="Payload field with a text's words.")] = "text",
    alias: Annotated[
        str, typer.Option(metavar="NAME", help="The alias to swap; default: COLLECTION, if it is one.")
    ] = "",
    query: Annotated[
        list[str] | None, typer.Option(metavar="WORDS", help="A query to compare the answers of; repeatable.")
    ] = None,
    samples: Annotated[int, typer.Option(min=0, max=1000, help="Stored points to compare likewise.")] = 50,
    eval: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Queries and their right answers, as for clipsearch eval: both collections are measured.",
        ),
    ] = None,
    fail_below: FailBelow = None,
    no_swap: Annotated[bool, typer.Option("--no-swap", help="Leave the alias where it is.")] = False,
    keep_old_current: Annotated[
        bool, typer.Option("--keep-old-current", help="After the swap let new writes go to the old one too.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Swap the alias without asking.")] = False,
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """Moves a collection to a new model without downtime.

    Makes a new collection like the old one, lets every write go to both from then on, fills the new
    one from the images and texts that the payloads lead to, compares the two point by point and
    by their answers, and points the alias at the new one. Searches go on all the time. The old
    collection stays until it is deleted, for a way back.

    A run that was stopped is resumed by starting it again: what is there is not encoded again.
    Images are read on this machine, from the paths in the payloads. Until the swap write to the
    old collection or its alias only: points that the new one alone has are taken for deleted ones.

    Exit code 0 when the new collection holds all that the old one does, 1 when points are lacking or
    it finds less than --fail-below asks (then nothing is swapped), 130 after Ctrl-C.

    Examples:

      clipsearch reindex shop --model siglip2-base

      clipsearch reindex shop --model siglip2-base --query "a red mug" --yes --keep-old-current

      clipsearch reindex shop --model siglip2-base --eval queries.jsonl --fail-below recall@10=0.8

      clipsearch reindex shoes --model siglip2-base --alias shop --json
    """
    if fail_below and eval is None:
        raise typer.BadParameter("goes with --eval only", param_hint="--fail-below")
    from clipsearch.reindex.compare import compare
    from clipsearch.reindex.move import begin, swap
    from clipsearch.reindex.sources import Fields
    from clipsearch.reindex.verify import verify

    bounds = read_bounds(fail_below, _KS) if fail_below else {}
    asked = None
    if eval is not None:
        from clipsearch.eval.run import from_file

        asked = from_file(eval)  # what is wrong with it is told before the work

    async def run() -> bool:
        async with connect_async(server) as client:
            move = await begin(client, collection, model, to, alias)
            old, new = move.old.name, move.new.name
            say(
                f"{'going on with' if move.resumed else 'made'} {new} (model {move.new.model})",
                f"what is written to {old} goes there too",
            )
            backfill = await _fill(client, move, Fields(path_field, text_field))
            say("comparing the two collections")
            verification = await verify(backfill)
            comparison = await compare(client, old, new, samples, query or ())
            if not json:
                show(move, backfill.progress, verification, comparison)
            evaluation = None
            if asked is not None and verification.complete:
                evaluation = await _evaluate(client, move, asked, str(eval), bounds, json)
            good = verification.complete and not (evaluation and evaluation["below"])
            swapped = bool(move.alias) and good and not no_swap
            if swapped and not yes:
                question = f"Point {move.alias!r} at {new!r} now?"  # nothing else waits on this loop
                swapped = not json and sys.stdin.isatty() and typer.confirm(question, err=True)
            if swapped:
                await swap(client, move, keep_old_current=keep_old_current)
        if json:
            print_json(as_json(move, backfill.progress, verification, comparison, evaluation, swapped))
        say(*what_now(move, verification, good, swapped, keep_old_current))
        return good

    try:
        complete = asyncio.run(run())
    except KeyboardInterrupt:
        say("stopped; start it again to go on where it was")
        raise typer.Exit(130) from None
    if not complete:
        raise typer.Exit(1)


async def _evaluate(
    client: AsyncClient, move: Move, queries: Queries, source: str, bounds: Mapping[str, float], json: bool
) -> dict[str, Any]:
    """Measures both collections, as `clipsearch eval` does."""
    from clipsearch.cli.eval import show
    from clipsearch.eval.document import document
    from clipsearch.eval.run import Asking, evaluate

    with progress() as on_progress:
        asking = Asking(queries, _KS, on_progress=on_progress)
        names = (move.old.name, move.new.name)
        rows = [row for name in names for row in await evaluate(client, name, asking)]
    told = document(rows, asking, source, bounds, move.new.name)
    if not json:
        show(rows, told)
    return told


async def _fill(client: AsyncClient, move: Move, fields: Fields) -> Backfill:
    """The backfill, run with a progress bar."""
    from clipsearch.reindex.backfill import Backfill

    with progress() as show:

        def on_progress(now: Progress) -> None:
            lacking = f"[red]{now.lacking:,} lacking" if now.lacking else ""
            show("encoding", now.done, move.old.points, lacking)

        backfill = Backfill(client, move.old.name, move.new.name, fields, on_progress)
        await backfill.run()
        return backfill


def say(*lines: str) -> None:
    """Lines to stderr; commands in them stay in one piece."""
    for line in lines:
        stderr().print(plain(line), soft_wrap=True)


def show(move: Move, progress: Progress, verification: Verification, comparison: Comparison | None) -> None:
    """Counts and what is lacking to stderr, the comparison to stdout."""
    lacking = verification.lacking
    bare = f"{progress.bare:,} without vectors, " if progress.bare else ""
    say(
        f"{progress.encoded:,} encoded, {bare}{progress.already:,} there already, {len(lacking):,} lacking; "
        f"{verification.removed:,} deleted meanwhile and removed, {verification.renewed:,} made anew",
        *(f"  {one.kind} {one.id}: {one.reason}" for one in lacking[:_SHOWN_LACKING]),
        *(f"  differs {id}" for id in verification.differing[:_SHOWN_LACKING]),
    )
    if len(lacking) > _SHOWN_LACKING:
        say(f"  and {len(lacking) - _SHOWN_LACKING:,} more; --json lists all")
    if comparison is None:
        return
    rows = table(
        "overlap@10>",
        "query",
        f"only in {plain(move.old.name)}",
        f"only in {plain(move.new.name)}",
        title=f"{len(comparison.queries)} queries: median overlap@10 {comparison.median:.2f}, "
        f"mean {comparison.mean:.2f}; those that changed most:",
    )
    for query in comparison.queries[:_SHOWN_EXAMPLES]:
        old, new = set(query.old), set(query.new)
        rows.add_row(
            f"{query.overlap:.2f}",
            plain(query.query),
            plain(", ".join(id for id in query.old if id not in new)),
            plain(", ".join(id for id in query.new if id not in old)),
        )
    stdout().print(rows)


def what_now(
    move: Move, verification: Verification, good: bool, swapped: bool, kept_current: bool
) -> list[str]:
    """What the caller does next, and how to go back."""
    old, new = move.old.name, move.new.name
    if not verification.complete:
        return [f"{new} is not complete, so nothing was swapped; mend what is listed and run this again"]
    if not good:
        return [f"{new} finds less than was asked, so nothing was swapped"]
    drop = f"when {old} is not needed any more: clipsearch collections delete {old}"
    if swapped:
        back = f"to go back: clipsearch collections alias {move.alias} {old}"
        lost = "" if kept_current else f" ({old} does not have what is written to {move.alias} from now on)"
        return [f"{move.alias} points at {new}", back + lost, drop]
    if move.alias:
        return [f"to swap: clipsearch collections alias {move.alias} {new}"]
    return [
        f"callers name {old} itself, so nothing can be swapped under them: let them use an alias",
        f"  clipsearch collections alias ALIAS {new}, then ALIAS in place of {old} at every caller",
        f"writes that name {old} go to both as long as it is there; {drop}",
    ]


def as_json(
    move: Move,
    progress: Progress,
    verification: Verification,
    comparison: Comparison | None,
    evaluation: dict[str, Any] | None,
    swapped: bool,
) -> dict[str, Any]:
    """The same for scripts."""
    return {
        "old": move.old.name,
        "new": move.new.name,
        "model": move.new.model,
        "fingerprint": move.new.fingerprint,
        "resumed": move.resumed,
        "points": verification.points,
        "encoded": progress.encoded,
        "already": progress.already,
        "without_vectors": progress.bare,
        "lacking": [asdict(one) for one in verification.lacking],
        "differing": verification.differing,
        "removed": verification.removed,
        "renewed": verification.renewed,
        "comparison": None
        if comparison is None
        else {
            "median_overlap_at_10": comparison.median,
            "mean_overlap_at_10": comparison.mean,
            "queries": [
                {"query": q.query, "overlap_at_10": q.overlap, "old": q.old, "new": q.new}
                for q in comparison.queries
            ],
        },
        "evaluation": evaluation,
        "alias": move.alias or None,
        "swapped": swapped,
        "rollback": f"clipsearch collections alias {move.alias} {move.old.name}" if swapped else None,
    }
