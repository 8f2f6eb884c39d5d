"""`clipsearch classify`: which of these labels fits an image best?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli.shared.access import access
from clipsearch.cli.shared.options import DEFAULT_ENCODER, Encoder, Json
from clipsearch.cli.shared.output import plain, print_json, stdout, table

if TYPE_CHECKING:
    from rich.table import Table

    from clipsearch.client.types import Classification


def classify(
    image: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="An image file.")],
    labels: Annotated[
        str, typer.Option(metavar="A,B,C", help="The labels to choose from, separated by commas.")
    ],
    template: Annotated[
        list[str] | None,
        typer.Option(
            help="The sentence that each label is put into, in place of {}; of several the mean counts.",
            show_default="a photo of a {}",
        ),
    ] = None,
    encoder: Encoder = DEFAULT_ENCODER,
    json: Json = False,
) -> None:
    """Says which of some labels fits an image best, without any training.

    Examples:

      clipsearch classify photo.jpg --labels cat,dog,horse

      clipsearch classify photo.jpg --labels "espresso,cappuccino" --template "a cup of {}" --json

      clipsearch classify pet.jpg --labels cat,dog --template "a photo of a {}" --template "a drawing of a {}"
    """
    from clipsearch.client.errors import ClipSearchError
    from clipsearch.client.sync import EncoderClient

    choices = [label.strip() for label in labels.split(",")]
    if not all(choices):
        raise typer.BadParameter("every label must hold a character", param_hint="--labels")
    with EncoderClient(encoder, **access()) as client:
        try:
            (result,) = client.classify([image], choices, prompt_template=template or "")
        except ClipSearchError as error:
            for field, option in (("prompt_template", "--template"), ("labels", "--labels")):
                if error.field and error.field.startswith(field):
                    message = error.message.removeprefix(f"{error.field}: ")
                    raise typer.BadParameter(message, param_hint=option) from None
            raise
    if result.error is not None:
        raise result.error.about(str(image))
    if json:
        scores = [
            {"label": s.label, "probability": round(s.probability, 6), "cosine": round(s.cosine, 6)}
            for s in result.scores
        ]
        print_json({"image": str(image), "scores": scores})
    else:
        stdout().print(labels_table(result))


def labels_table(result: Classification, title: str | None = None) -> Table:
    """Labels, best first, with probability and cosine."""
    scores = table("label", "probability>", "cosine>", title=title)
    for score in result.scores:
        scores.add_row(plain(score.label), f"{score.probability:.1%}", f"{score.cosine:.3f}")
    return scores
