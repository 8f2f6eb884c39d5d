"""`clipsearch eval`: how good the answers are, by queries whose right answers are known."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from clipsearch.cli.shared.access import connect_async
from clipsearch.cli.shared.index_source import open_source
from clipsearch.cli.shared.options import DEFAULT_COLLECTION, DEFAULT_SERVER, Json, Server, choices, words
from clipsearch.cli.shared.output import plain, print_json, progress, say, size, stderr, stdout, table
from clipsearch.cli.shared.processes import exit_on_sigterm

if TYPE_CHECKING:
    from clipsearch.eval.run import Asking, Row

_MOST_K = 1000
_MOST_EF = 4096

FailBelow = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MEASURE=LEAST",
        help="Exit code 1 if a row is below it, such as recall@10=0.8; may be given several times.",
    ),
]


def eval(
    queries: Annotated[
        Path | None,
        typer.Argument(help="Queries and their right answers (.jsonl, .csv, .tsv, .parquet)."),
    ] = None,
    made_of: Annotated[
        Literal["captions", "folders"] | None,
        typer.Option(help="In place of a file: ask by the images' captions, or by their folders' names."),
    ] = None,
    collection: Annotated[
        list[str] | None,
        typer.Option(
            "--collection",
            "-c",
            metavar="NAME",
            help="A collection, or an alias of one; several are compared.",
            show_default=DEFAULT_COLLECTION,
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="In place of a collection: a folder of images or a list, which services started for "
            "the time encode with each --model.",
        ),
    ] = None,
    model: Annotated[
        list[Path] | None, typer.Option(metavar="BUNDLE", help="With --source: a bundle; repeatable.")
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            metavar="LIST",
            help="With --source: fp32,int8,fp16 to compare.",
            show_default="the bundle's choice",
        ),
    ] = "",
    quantization: Annotated[
        str,
        typer.Option(
            metavar="LIST",
            help="With --source: none,scalar,binary,product,turbo to compare.",
            show_default="none",
        ),
    ] = "",
    ef: Annotated[
        str,
        typer.Option(
            metavar="LIST",
            help="Beams in the index to compare, such as 16,64,256.",
            show_default="the engine's",
        ),
    ] = "",
    k: Annotated[str, typer.Option(metavar="LIST", help="Ranks to measure recall at.")] = "1,10",
    target: Annotated[
        Literal["any", "image", "text"] | None,
        typer.Option(
            help="Which vectors to compare with.", show_default="any; image for queries that are made"
        ),
    ] = None,
    fail_below: FailBelow = None,
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder for eval.json and eval.html.")] = Path(
        "eval"
    ),
    server: Server = DEFAULT_SERVER,
    json: Json = False,
) -> None:
    """Measures how often the right answers are found, and compares collections, models and settings.

    A line of the file is {"text": "a cat", "relevant": ["chelsea.png"]}: text, or image with a path, and the
    right points by id, path or file name; {"chelsea.png": 3, "tiger.png": 1} grades them. In a CSV it is a
    row an answer, with the columns text or image, relevant, and grade if there are grades.

    Each row of the table is one way of asking, with 95 % intervals; the first is the exact search. It only
    reads: a few searches at a time, and again later where the service is busy. With --source nothing that
    runs is touched: services of its own are started for each model, precision and compression.

    Examples:

      clipsearch eval queries.jsonl -c photos --ef 16,64,256

      clipsearch eval --made-of captions -c photos -c photos-siglip2

      clipsearch eval queries.csv --source ~/Pictures --model models/clip --model models/siglip2
      --precision fp32,int8 --quantization none,scalar,binary

      clipsearch eval queries.jsonl --fail-below recall@10=0.8 --json
    """
    from clipsearch.client.inputs import Quantization
    from clipsearch.eval.document import document
    from clipsearch.eval.page import write_page
    from clipsearch.eval.run import MADE, Asking, from_file

    ks = _numbers("--k", k, _MOST_K)
    bounds = read_bounds(fail_below, ks)
    if (queries is None) == (made_of is None):
        raise typer.BadParameter("give a file of QUERIES, or --made-of captions or folders, and not both")
    asked = from_file(queries) if queries is not None else MADE[made_of or ""]
    efs = _numbers("--ef", ef, _MOST_EF) if ef else [0]
    with progress() as on_progress:
        asking = Asking(asked, ks, target or ("image" if made_of else "any"), on_progress)
        if source is None:
            _refuse("--source", {"--model": model, "--precision": precision, "--quantization": quantization})
            names = collection or [DEFAULT_COLLECTION]
            rows = asyncio.run(served_rows(server, names, asking, efs))
        else:
            _refuse("a collection that is served", {"--collection": collection})
            if not model:
                raise typer.BadParameter("--source needs at least one --model", param_hint="--model")
            from clipsearch.cli.eval_services import own_rows
            from encoder_service.bundle import Precision

            with exit_on_sigterm(), tempfile.TemporaryDirectory(prefix="clipsearch-eval-") as scratch:
                rows = asyncio.run(
                    own_rows(
                        open_source(source),
                        asking,
                        Path(scratch),
                        models=model,
                        precisions=choices("--precision", precision, get_args(Precision)),
                        quantizations=choices(
                            "--quantization", quantization or "none", get_args(Quantization)
                        ),
                        efs=efs,
                    )
                )
    told = document(rows, asking, str(queries or made_of), bounds)
    out.mkdir(parents=True, exist_ok=True)
    (out / "eval.json").write_text(dumps(told, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    write_page(told, out / "eval.html")
    if json:
        print_json(told)
    else:
        show(rows, told)
        stdout().print(f"page: {plain((out / 'eval.html').resolve().as_uri())}")
    if told["below"]:
        raise typer.Exit(1)


async def served_rows(server: str, names: Sequence[str], asking: Asking, efs: Sequence[int]) -> list[Row]:
    """The rows of collections of a service that runs."""
    from clipsearch.eval.run import evaluate

    async with connect_async(server) as client:
        return [row for name in names for row in await evaluate(client, name, asking, efs=efs)]


def read_bounds(given: Sequence[str] | None, ks: Sequence[int]) -> Mapping[str, float]:
    """What --fail-below says. Raises BadParameter."""
    from clipsearch.eval.measures import bounds

    try:
        return bounds(given or (), ks)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--fail-below") from None


def _refuse(without: str, given: Mapping[str, object]) -> None:
    for option, value in given.items():
        if value:
            raise typer.BadParameter(f"goes with {without} only", param_hint=option)


def _numbers(option: str, listed: str, most: int) -> list[int]:
    given = words(listed)
    if not given or not all(word.isascii() and word.isdigit() and 1 <= int(word) <= most for word in given):
        raise typer.BadParameter(f"{listed!r}: write numbers of 1 to {most}, such as 1,10", param_hint=option)
    return [int(word) for word in given]


def show(rows: Sequence[Row], told: Mapping[str, Any]) -> None:
    """A line a row to stdout: measures with their intervals, what is found of the reference's hits, cost.

    What it means, and what is below the bounds, to stderr.
    """
    measures = [f"{name}>" for name in rows[0].measures]
    result = table("", "vectors", "search", *measures, "same>", "p50 ms>", "memory>", "B/point>")
    for row in rows:
        result.add_row(
            plain(", ".join(filter(None, (row.name, row.precision)))),
            row.collection.quantization,
            row.search,
            *(f"{one.mean:.3f} ({one.low:.2f}-{one.high:.2f})" for one in row.measures.values()),
            "" if row.same is None else f"{row.same:.3f}",
            f"{row.p50_ms:.1f}",
            "" if row.memory_bytes is None else size(row.memory_bytes),
            f"{row.bytes_a_point:,.0f}",
        )
    stdout().print(result)
    say(f"{rows[0].queries:,} queries from {told['queries']}; in brackets 95 % intervals (bootstrap)")
    compared = [row for row in rows if not row.exact and row.collection.indexed_share == 0]
    if compared:
        say(
            f"{compared[0].collection.points:,} points have no index yet: searches are exact, and neither a "
            "beam nor a compression changes what they find"
        )
    for missed in told["below"]:
        stderr().print(f"[red]below what was asked: {plain(missed)}[/red]")
