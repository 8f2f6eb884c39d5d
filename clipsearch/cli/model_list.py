"""`clipsearch model list`: which model to take, by what their authors and OpenCLIP measured."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import Any

from clipsearch.cli.options import Json
from clipsearch.cli.output import plain, print_json, stderr, stdout, table

COLUMNS = (
    "model",
    "best for",
    "ImageNet>",
    "COCO>",
    "36 languages>",
    "languages",
    "licence",
    "M parameters>",
    "dimension>",
    "side>",
    "figures by",
)


def list_models(json: Json = False) -> None:
    """Lists models that are worth a look, with what they find and cost. docs/models.md says more.

    ImageNet: zero-shot accuracy; COCO: text-to-image recall@1 (the 36 languages of Crossmodal-3600 likewise);
    all as published, in per cent; empty = not known.

    Examples:

      clipsearch model list

      clipsearch model list --json
    """
    models = known_models()
    if json:
        print_json(models)
        return
    shown = table(*COLUMNS)
    for model in models:
        shown.add_row(*(plain(cell) for cell in cells(model)))
    stdout().print(shown)
    stderr().print("to take one: make model MODEL=ID, or clipsearch model export ID --out DIR")


def known_models() -> list[dict[str, Any]]:
    """What models.json beside this file holds."""
    models: list[dict[str, Any]] = json_format.loads(
        Path(__file__).with_name("models.json").read_text(encoding="utf-8")
    )
    return models


def cells(model: dict[str, Any]) -> list[str]:
    """A model's row, in the order of COLUMNS; unknown figures are empty."""
    fields = ("imagenet", "coco", "crossmodal")
    return [
        model["id"],
        model["best_for"],
        *("" if model[field] is None else f"{model[field]:.1f}" for field in fields),
        model["languages"],
        model["license"],
        *(str(model[field]) for field in ("parameters", "dimension", "image_size")),
        model["source"],
    ]


def markdown_table() -> str:
    """The same for docs/models.md, with links to where the figures are from."""
    heads = [column.removesuffix(">") for column in COLUMNS]
    lines = [heads, ["---:" if column.endswith(">") else "---" for column in COLUMNS]]
    lines += [[*cells(model)[:-1], f"[{model['source']}]({model['source_url']})"] for model in known_models()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
