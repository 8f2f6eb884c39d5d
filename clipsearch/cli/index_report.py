"""What `clipsearch index` says in the end."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from clipsearch.cli.output import plain, stderr
from clipsearch.display.notebook import counted

if TYPE_CHECKING:
    from clipsearch.ingest import IngestReport, Source

_SHOWN_FAILURES = 50
_LONGEST_REASON = 200


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
    for remark in remarks(source):
        console.print(plain(remark))
    for failure in report.failures[:_SHOWN_FAILURES]:
        console.print(f"  [red]failed[/red] {plain(failure.place)}: {plain(_cut(failure.reason))}")
    if report.failed > _SHOWN_FAILURES:
        console.print(f"  and {report.failed - _SHOWN_FAILURES:,} more; --failures FILE lists all")


def as_json(report: IngestReport, source: Source) -> dict[str, Any]:
    """The same for scripts."""
    return {**asdict(report), "elapsed_s": round(report.elapsed_s, 3), "remarks": remarks(source)}


def remarks(source: Source) -> list[str]:
    """What a source has to say of how it was read; sources of vectors have nothing."""
    say = getattr(source, "remarks", None)
    return list(say()) if say is not None else []


def _cut(reason: str) -> str:
    """A reason may quote a path or a cell of any length; --failures has all of it."""
    return reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}..."


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
