"""Turns a dual encoder into a model bundle, or leaves nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

from encoder_service.bundle import (
    TOKENIZER,
    Manifest,
    Precision,
    Tower,
    file_entry,
    graph_file,
    space_fingerprint,
    write_manifest,
)
from encoder_service.export import ExportError, Progress, golden
from encoder_service.export.dual_encoder import DualEncoder
from encoder_service.export.known_answer import known_answer
from encoder_service.export.output import bundle_folder
from encoder_service.export.sources.load import load, load_random
from encoder_service.export.sources.tokenizer import tokenizer_json
from encoder_service.export.verify import check_bundle, report
from encoder_service.export.write_graphs import write_graphs

# The share of fp32's bytes that int8 may have to be worth running.
_MOST = 0.5


def export_bundle(
    source: str,
    out: Path,
    *,
    random_init: bool = False,
    revision: str | None = None,
    dimension: int = 0,
    precisions: Sequence[Precision] = ("fp32", "int8"),
    progress: Progress = lambda message: None,
) -> Manifest:
    """Writes the bundle of `source` into the folder `out` and returns its manifest.

    `source`, `revision` and `dimension` are those of `sources.load`; with `random_init` the source is the
    name of a known architecture. An older bundle in `out` is replaced once the new one is whole. int8 becomes
    the choice for CPUs, and fp16 for GPUs, only in the towers whose checks it passes.
    Raises ExportError, WheelError.
    """
    if set(precisions) - set(get_args(Precision)) or "fp32" not in precisions:
        raise ExportError(f"precisions {', '.join(precisions)}: fp32, and with it int8, fp16 or both")
    with bundle_folder(out) as folder:
        photos = golden.photos(progress)  # before the long work: these may have to be downloaded
        progress(f"loading {source}")
        if random_init:
            encoder = load_random(source, 0, dimension=dimension)
        else:
            encoder = load(source, revision=revision, dimension=dimension)
        (folder / TOKENIZER).write_text(tokenizer_json(encoder.tokenizer), encoding="utf-8")
        encoder, made = write_graphs(encoder, folder, precisions, progress)
        manifest = _manifest(encoder, folder, made)
        write_manifest(folder, manifest)
        manifest = report(manifest, check_bundle(folder, manifest, photos, encoder, progress))
        write_manifest(folder, manifest)
    return manifest


def _manifest(encoder: DualEncoder, folder: Path, made: Mapping[Tower, Sequence[Precision]]) -> Manifest:
    files = {path.name: file_entry(path) for path in sorted(folder.iterdir())}
    sizes = {name: entry.bytes for name, entry in files.items()}
    fingerprint = space_fingerprint(
        encoder.source.weights_sha256,
        files[TOKENIZER].sha256,
        encoder.image,
        encoder.text,
        encoder.computation(),
    )
    return Manifest(
        format_version=2,
        name=encoder.name,
        source=encoder.source,
        license=encoder.license,
        pretrained=encoder.pretrained,
        dimension=encoder.dimension,
        image=encoder.image,
        text=encoder.text,
        scoring=encoder.scoring,
        logit_scale=encoder.logit_scale,
        logit_bias=encoder.logit_bias or 0.0,
        precisions={tower: list(precisions) for tower, precisions in made.items()},
        preferred_cpu={tower: for_cpus(tower, there, sizes) for tower, there in made.items()},
        preferred_gpu={tower: "fp16" if "fp16" in there else "fp32" for tower, there in made.items()},
        fingerprint=fingerprint,
        files=files,
        known_answer=known_answer(folder, encoder.image, encoder.text, "fp32"),
    )


def for_cpus(tower: Tower, there: Sequence[Precision], files: Mapping[str, int]) -> Precision:
    """The precision that CPUs run, of those `there`; `files` has the sizes of the bundle's files by name.

    int8, but where most of a tower is convolutions, which stay as they are.

    int8 to fp32, size and speed with images 4 at a time, on two busy AVX2 cores: ViT-B-32 0.27 and 3.2 times,
    convnext_tiny 0.30 and 1.9, RN50 0.71 and 0.96, MobileCLIP2-S0 0.83 and 1.04.
    """
    sizes = {
        precision: sum(size for name, size in files.items() if name.startswith(graph_file(tower, precision)))
        for precision in there
    }
    return "int8" if "int8" in there and sizes["int8"] < _MOST * sizes["fp32"] else "fp32"
