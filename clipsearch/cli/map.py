"""`clipsearch map`: an image of a collection's embedding space, and numbers about it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipsearch.cli.shared.access import access
from clipsearch.cli.shared.options import (
    DEFAULT_ENCODER,
    DEFAULT_SERVER,
    Encoder,
    Filter,
    Json,
    Server,
    conditions,
)
from clipsearch.cli.shared.output import plain, print_json, progress, stderr, stdout, table
from clipsearch.cli.shared.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clipsearch.client.sync import Client, EncoderClient
    from clipsearch.client.types import Collection
    from clipsearch.filters.convert import FilterLike
    from clipsearch.map.build import SpaceMap
    from clipsearch.map.clusters import Words
    from clipsearch.map.queries import Question


def map(
    collection: Annotated[str, typer.Argument(help="The collection, or an alias of one.")],
    out: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Folder for the files.", show_default="COLLECTION-map"),
    ] = None,
    points: Annotated[
        int, typer.Option(min=2, max=1_000_000, help="Vectors to show at most, evenly from all.")
    ] = 20_000,
    color: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD",
            help="Payload field to colour and measure by. Repeatable.",
            show_default="keyword and bool indexes with 2 to 30 values",
        ),
    ] = None,
    query: Annotated[
        list[str] | None, typer.Option(help="Words to place among the points. Repeatable.")
    ] = None,
    query_image: Annotated[
        list[Path] | None,
        typer.Option(exists=True, dir_okay=False, help="An image to place among the points. Repeatable."),
    ] = None,
    filter: Filter = None,
    words: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Words that may name clusters, one a line.",
            show_default="built in",
        ),
    ] = None,
    thumbnails: Annotated[int, typer.Option(min=0, help="Points that show their image, at most.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same map.")] = 0,
    server: Server = DEFAULT_SERVER,
    encoder: Encoder = DEFAULT_ENCODER,
    json: Json = False,
) -> None:
    """Draws a collection's vectors as a map: an interactive page, an image, and numbers.

    Image and text vectors are drawn together, in the space as it is and with each modality centred.
    Writes map.html, map.png and map.json. Clusters are named by the encoder's nearest words; without
    an encoder they are numbered.

    Examples:

      clipsearch map images

      clipsearch map shop --color brand --query "a red shoe" --query "something warm"

      clipsearch map shop --points 100000 --filter 'price<20' --json
    """
    from clipsearch.client.sync import Client, EncoderClient

    folder = out or Path(f"{collection}-map")
    with Client(server, **access()) as client, EncoderClient(encoder, **access()) as encoding:
        drawn = draw(
            client,
            encoding,
            collection,
            folder,
            points=points,
            fields=color,
            queries=query or (),
            query_images=query_image or (),
            filter=conditions(filter),
            words=words,
            thumbnails=thumbnails,
            seed=seed,
        )
    if json:
        from clipsearch.map.summary import summary

        print_json(summary(drawn))
        return
    stdout().print(numbers_table(drawn))
    stdout().print(f"page: {plain((folder / 'map.html').resolve().as_uri())}")
    stdout().print(f"image: {plain(folder / 'map.png')}, numbers: {plain(folder / 'map.json')}")


def draw(
    client: Client,
    encoder: EncoderClient,
    collection: str,
    folder: Path,
    *,
    points: int = 20_000,
    fields: Sequence[str] | None = None,
    queries: Sequence[str] = (),
    query_images: Sequence[Path] = (),
    filter: FilterLike | None = None,
    words: Path | None = None,
    thumbnails: int = 1000,
    seed: int = 0,
) -> SpaceMap:
    """Makes the map and writes its files. Raises NothingToShow, Problem and ClipSearchError."""
    import json

    from clipsearch.map.build import build_map, telling_fields
    from clipsearch.map.page import write_page
    from clipsearch.map.png import write_image
    from clipsearch.map.sample import read_sample
    from clipsearch.map.summary import summary

    with progress() as step:
        reading = partial(step, "reading vectors")
        sample = read_sample(client, collection, most=points, filter=filter, on_progress=reading)
        chosen = list(fields) if fields is not None else telling_fields(sample)
        for field in chosen:
            if not any(value is not None for value in sample.values(field)):
                raise Problem(f"--color {field}: no point shown has this payload field with a word or number")
        step("encoding words and queries")
        known = _words(encoder, sample.collection, words)
        questions = _questions(encoder, sample.collection, queries, query_images)
        drawn = build_map(sample, fields=chosen, questions=questions, words=known, seed=seed, on_step=step)
        folder.mkdir(parents=True, exist_ok=True)
        write_page(drawn, folder / "map.html", thumbnails=thumbnails, on_step=step)
        step("drawing the image")
        write_image(drawn, folder / "map.png")
        (folder / "map.json").write_text(
            json.dumps(summary(drawn), ensure_ascii=False, indent=2) + "\n", encoding="utf-8"
        )
    return drawn


def numbers_table(drawn: SpaceMap) -> Any:
    """The numbers of each space, side by side."""
    shown = table("", *(f"{view.name}>" for view in drawn.views))

    def line(title: str, *values: float | None) -> None:
        if any(value is not None for value in values):
            shown.add_row(title, *("-" if value is None else f"{value:.3f}" for value in values))

    numbers = [view.numbers for view in drawn.views]
    line("modality gap", *(n.gap for n in numbers))
    line("alignment", *(n.alignment for n in numbers))
    line("uniformity", *(n.uniformity for n in numbers))
    for field in drawn.fields:
        of = [n.fields[field] for n in numbers]
        name = plain(field)
        line(f"silhouette by {name}", *(f.silhouette for f in of))
        line(f"purity by {name}", *(f.purity for f in of))
        line(f"text to own images by {name}", *(f.alike.own if f.alike else None for f in of))
        line(f"text to other images by {name}", *(f.alike.others if f.alike else None for f in of))
        line(f"own image first by {name}", *(f.alike.first if f.alike else None for f in of))
    return shown


def _words(encoder: EncoderClient, collection: Collection, path: Path | None) -> Words | None:
    """The words that may name clusters, encoded; None if the encoder is away or has another model."""
    from clipsearch.client.errors import ClipSearchError
    from clipsearch.map.clusters import EVERYDAY_WORDS, Words, read_words

    names = read_words(path or EVERYDAY_WORDS)
    try:
        if encoder.model().fingerprint != collection.fingerprint:
            stderr().print("note: the encoder runs another model than the collection's: clusters get numbers")
            return None
        return Words(names, encoder.encode_texts(names))
    except ClipSearchError as error:
        stderr().print(f"note: clusters get numbers, not names: {plain(error.message)}")
        return None


def _questions(
    encoder: EncoderClient, collection: Collection, queries: Sequence[str], images: Sequence[Path]
) -> list[Question]:
    from clipsearch.map.queries import Question
    from clipsearch.map.sample import IMAGE, TEXT

    if not queries and not images:
        return []
    model = encoder.model()
    if model.fingerprint != collection.fingerprint:
        raise Problem(
            f"queries cannot be placed: the encoder's model is {model.name} ({model.fingerprint}), "
            f"the collection's fingerprint is {collection.fingerprint}"
        )
    texts = zip(queries, encoder.encode_texts(list(queries)), strict=True) if queries else ()
    encoded = zip(images, encoder.encode_images(images), strict=True) if images else ()
    return [Question(f'"{words}"', vector, TEXT) for words, vector in texts] + [
        Question(path.name, vector, IMAGE) for path, vector in encoded
    ]
