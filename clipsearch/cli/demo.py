"""`clipsearch demo`: the whole system once, on real photographs, in a minute."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli.shared import processes
from clipsearch.cli.shared.options import DEFAULT_COLLECTION
from clipsearch.cli.shared.output import plain, stdout, table
from clipsearch.cli.shared.problems import Problem

if TYPE_CHECKING:
    from clipsearch.client.sync import Client, EncoderClient
    from clipsearch.client.types import Classification, Model, SearchResult
    from clipsearch.map.build import SpaceMap

QUERIES = ("a cat", "a cup of coffee", "a motorcycle", "a flower", "a rocket")
LABELS = ("cat", "motorcycle", "flower", "rocket", "cup of coffee")
QUERY_IMAGE = "motorcycle_left.png"
CLASSIFIED_IMAGE = "chelsea.png"
SHOWN = 4

MAPPED = "words-and-photographs"
FIELD = "subject"
OTHER_WORDS = ("a horse", "a pizza", "a guitar")


def demo(
    images: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="A folder of images of your own.",
            show_default="sample photographs of scikit-image and scikit-learn",
        ),
    ] = None,
    model: Annotated[Path, typer.Option(help="Folder of the model bundle.")] = Path("build/models/starter"),
    out: Annotated[Path, typer.Option(help="Folder for the page.")] = Path("build/demo"),
    web: Annotated[
        bool, typer.Option("--web", help="Then serve the search page on what was indexed, until Ctrl-C.")
    ] = False,
) -> None:
    """Starts both services, indexes photographs, searches them, and writes a page with what was found.

    Everything it starts is stopped again. Make the bundle first: clipsearch model starter.

    Examples:

      clipsearch demo

      clipsearch demo --images ~/Pictures --web
    """
    console = stdout()
    if web:
        import clipsearch.web.server  # noqa: F401 - what it lacks is said before anything starts
    if not (model / "manifest.json").is_file():
        raise Problem(f"{model} is no model bundle; make one: clipsearch model starter --out {model}")
    with processes.exit_on_sigterm(), tempfile.TemporaryDirectory(prefix="clipsearch-demo-") as scratch:
        folder = images or Path(scratch) / "photographs"
        if images is None:
            from clipsearch.downloads.samples import write_samples

            write_samples(folder)
        console.print("== starting the encoder and the search service, each a process of its own")
        data = str(Path(scratch) / "data")
        with (
            processes.service("encoder", ["--model", str(model)], Path(scratch)) as encoder,
            processes.service(
                "search", ["--encoder", encoder.address, "--data-dir", data], Path(scratch)
            ) as search,
        ):
            page = _run(encoder.address, search.address, folder, out, own=images is not None)
            console.print(f"\nThe images that were found: [bold]{page.resolve().as_uri()}[/bold]")
            console.print(
                f"The map of the space:         [bold]{(out / 'map.html').resolve().as_uri()}[/bold]"
            )
            if web:
                _serve_page(encoder.address, search.address, folder, out)
    console.print(_next_steps(model, images), highlight=False)


def _run(encoder_at: str, search_at: str, folder: Path, out: Path, *, own: bool) -> Path:
    from clipsearch.cli.classify import labels_table
    from clipsearch.cli.map import draw, numbers_table
    from clipsearch.cli.shared.index_run import index_source
    from clipsearch.client.sync import Client, EncoderClient
    from clipsearch.ingest import PictureFolder

    console = stdout()
    with EncoderClient(encoder_at) as encoder, Client(search_at) as client:
        about = encoder.model()
        console.print(f"   model {about.name}, {about.dimension} dimensions, fingerprint {about.fingerprint}")
        if not about.pretrained:
            console.print("   [red]its weights are random: what it finds means nothing[/red]")
        console.print(f"== indexing the images in {plain(folder if own else 'the sample photographs')}")
        indexed = asyncio.run(index_source(PictureFolder(folder), DEFAULT_COLLECTION, search_at))
        console.print(f"   {indexed.indexed} indexed, {indexed.failed} could not be read")
        if not indexed.indexed:
            raise Problem(f"none of the images in {folder} could be indexed")
        answers = _search(client, folder, own=own)
        chosen = _first(answers) if own else folder / CLASSIFIED_IMAGE
        (classification,) = encoder.classify([chosen], LABELS)
        if classification.error is not None:
            raise classification.error.about(str(chosen))
        console.print(labels_table(classification, title=f"what is {plain(chosen.name)}?"))
        console.print("== drawing a map of the space")
        if own:
            drawn = draw(client, encoder, DEFAULT_COLLECTION, out)
        else:
            drawn = draw_samples(client, encoder, folder, out)
        console.print(numbers_table(drawn))
        count = client.count(DEFAULT_COLLECTION)
        return _write_page(about, count, answers, chosen, classification, out)


def _search(client: Client, folder: Path, *, own: bool) -> dict[str, SearchResult]:
    """Five queries by words and one by image; prints each."""
    stdout().print("== searching")
    answers = {f'"{words}"': client.search(DEFAULT_COLLECTION, words, limit=SHOWN) for words in QUERIES}
    query = _first(answers) if own else folder / QUERY_IMAGE
    # The image is in the collection, so it finds itself first; one more makes up for it.
    result = client.search(DEFAULT_COLLECTION, image=query, limit=SHOWN + 1)
    others = [hit for hit in result if Path(hit.payload["path"]) != query.resolve()][:SHOWN]
    answers[f"images like {query.name}"] = replace(result, hits=tuple(others))
    for title, result in answers.items():
        hits = table("#>", "score>", "", "image", title=plain(title))
        for rank, hit in enumerate(result, start=1):
            name, weak = plain(Path(hit.payload["path"]).name), "weak" if hit.weak else ""
            hits.add_row(str(rank), f"{hit.score:.3f}", weak, name, style="dim" if hit.weak else None)
        stdout().print(hits)
    return answers


def _first(answers: Mapping[str, SearchResult]) -> Path:
    """The best image for the first query."""
    return Path(next(iter(answers.values()))[0].payload["path"])


def _serve_page(encoder_at: str, search_at: str, folder: Path, out: Path) -> None:
    """The search page on what the demo has indexed, with its map, until Ctrl-C."""
    from clipsearch.cli.web import serve_page
    from clipsearch.web.settings import Side

    stdout().print("== serving the search page; the services run as long as it does")
    sides = {"a": Side(search_at, encoder_at)}
    try:
        serve_page(sides, [folder], [out], open_browser=True)
    except Problem:  # the port is taken
        serve_page(sides, [folder], [out], port=0, open_browser=True)


def _next_steps(bundle: Path, images: Path | None) -> str:
    folder = plain(images) if images is not None else "~/Pictures"
    again = "make web" if images is None else f"make web IMAGES={folder}"
    return f"""
Next, search these in a browser: {again}

Or images of your own:

  .venv/bin/clipsearch serve all --model {plain(bundle)}
  .venv/bin/clipsearch index {folder}              (in another terminal)
  .venv/bin/clipsearch web --root {folder} --open   (or: clipsearch search "a cat")
  .venv/bin/clipsearch --help"""


def _write_page(
    model: Model,
    points: int,
    found: Mapping[str, SearchResult],
    classified: Path,
    classification: Classification,
    out: Path,
) -> Path:
    """Writes `index.html` into the folder `out` and returns its path; `found` is by the query's title."""
    from clipsearch.display.thumbnails import thumbnail

    warning = "" if model.pretrained else "<p><b>Random weights: this means nothing.</b></p>"
    answers = "\n".join(
        f"<h2>{escape(title)}</h2>{result.to_html(fields=['name'])}" for title, result in found.items()
    )
    labels = "\n".join(
        f"<tr><th>{escape(score.label)}</th><td><meter value={score.probability:.4f}></meter></td>"
        f"<td>{score.probability:.1%}</td></tr>"
        for score in classification.scores
    )
    page = f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
      content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>clipsearch: what the demo found</title>
<style>
  :root {{ color-scheme: light dark }}
  body {{ font: 1rem/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem }}
</style>
<h1>What the demo found</h1>
<p>{points} images, searched by words and by image with the model <b>{escape(model.name)}</b>
(fingerprint <code>{escape(model.fingerprint)}</code>).</p>
{warning}
{answers}
<h2>what is {escape(classified.name)}?</h2>
<img alt="" src="{thumbnail(classified) or ""}">
<table>
{labels}
</table>
</html>
"""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "index.html"
    path.write_text(page, encoding="utf-8")
    return path


def draw_samples(client: Client, encoder: EncoderClient, photographs: Path, out: Path) -> SpaceMap:
    """Draws the sample photographs with twenty words into the folder `out`. Raises ClipSearchError."""
    from clipsearch.cli.map import draw
    from clipsearch.client.inputs import Point
    from clipsearch.downloads.samples import SUBJECTS

    client.create_collection(MAPPED, payload_indexes={FIELD: "keyword"})
    points = []
    for name, subject in SUBJECTS.items():
        path = photographs / name
        points.append(Point(name, image=path, payload={"path": str(path), "name": name, FIELD: subject}))
    words = dict.fromkeys([*SUBJECTS.values(), *OTHER_WORDS])
    points += [Point(f"word: {word}", text=word, payload={"text": word, FIELD: word}) for word in words]
    for result in client.upsert(MAPPED, points):
        if result.error is not None:
            raise result.error.about(result.id)
    return draw(client, encoder, MAPPED, out, queries=["a pet", "a fast vehicle"])
