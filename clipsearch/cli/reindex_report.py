"""What `clipsearch reindex` tells: counts, what is lacking, and how different the answers are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clipsearch.cli.output import plain, stderr, stdout, table

if TYPE_CHECKING:
    from clipsearch.reindex.backfill import Progress
    from clipsearch.reindex.compare import Comparison
    from clipsearch.reindex.move import Move
    from clipsearch.reindex.verify import Verification

_SHOWN_LACKING = 50
_SHOWN_EXAMPLES = 3


def say(*lines: str) -> None:
    """Lines to stderr; commands in them stay in one piece."""
    for line in lines:
        stderr().print(plain(line), soft_wrap=True)


def show(move: Move, progress: Progress, verification: Verification, comparison: Comparison | None) -> None:
    """Counts and what is lacking to stderr, the comparison to stdout."""
    lacking = verification.lacking
    say(
        f"{progress.encoded:,} encoded, {progress.already:,} there already, {len(lacking):,} lacking; "
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
        "lacking": [{"id": one.id, "kind": one.kind, "reason": one.reason} for one in verification.lacking],
        "differing": verification.differing,
        "removed": verification.removed,
        "renewed": verification.renewed,
        "comparison": None if comparison is None else _comparison(comparison),
        "evaluation": evaluation,
        "alias": move.alias or None,
        "swapped": swapped,
        "rollback": f"clipsearch collections alias {move.alias} {move.old.name}" if swapped else None,
    }


def _comparison(comparison: Comparison) -> dict[str, Any]:
    return {
        "median_overlap_at_10": comparison.median,
        "mean_overlap_at_10": comparison.mean,
        "queries": [
            {"query": q.query, "overlap_at_10": q.overlap, "old": list(q.old), "new": list(q.new)}
            for q in comparison.queries
        ],
    }
