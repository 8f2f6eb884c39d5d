"""Turns a checkpoint of the CLIP or SigLIP family into a model bundle, or leaves nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from encoder_service.bundle import (
    KNOWN_TEXT,
    TOKENIZER,
    KnownAnswer,
    Manifest,
    Precision,
    Tower,
    encode_vector,
    file_entry,
    graph_file,
    known_answer_pixels,
    space_fingerprint,
    write_manifest,
)
from encoder_service.cpus import available_cpus
from encoder_service.export import ExportError, golden, towers
from encoder_service.export.checkpoint import Checkpoint, load_checkpoint, random_checkpoint
from encoder_service.export.fp16 import to_fp16
from encoder_service.export.output import bundle_folder, check_target
from encoder_service.export.quantize import quantize
from encoder_service.export.tokenizer import tokenizer_json
from encoder_service.export.verify import check_bundle, report
from encoder_service.inputs.texts import TextTokenizer, pad
from encoder_service.runtime.session import OnnxSession

TOWERS: tuple[Tower, Tower] = ("image", "text")

Progress = Callable[[str], None]


def export_bundle(
    source: str,
    out: Path,
    *,
    random_init: bool = False,
    precisions: Sequence[Precision] = ("fp32", "int8"),
    seed: int = 0,
    progress: Progress | None = None,
) -> Manifest:
    """Writes the bundle of `source` into the folder `out` and returns its manifest.

    `source` is a Hugging Face id or a checkpoint folder, or with `random_init` the name of a known
    architecture. An older bundle in `out` is replaced once the new one is whole. int8 becomes the
    choice for CPUs, and fp16 for GPUs, only in the towers whose checks it passes.
    Raises ExportError, WheelError.
    """
    say = progress or (lambda _: None)
    _check_precisions(precisions)
    check_target(out)
    photos = golden.photos(say)  # before the long work: these may have to be downloaded
    say(f"loading {source}")
    checkpoint = random_checkpoint(source, seed, say) if random_init else load_checkpoint(source)
    with bundle_folder(out) as folder:
        _write_graphs(checkpoint, folder, precisions, say)
        manifest = _manifest(checkpoint, folder, precisions)
        write_manifest(folder, manifest)
        manifest = report(manifest, check_bundle(folder, manifest, photos, checkpoint, say))
        write_manifest(folder, manifest)
    return manifest


def _check_precisions(precisions: Sequence[Precision]) -> None:
    unknown = sorted(set(precisions) - {"fp32", "int8", "fp16"})
    if unknown or "fp32" not in precisions:
        raise ExportError(f"precisions {', '.join(precisions)}: fp32, and with it int8, fp16 or both")


def _write_graphs(
    checkpoint: Checkpoint, folder: Path, precisions: Sequence[Precision], say: Progress
) -> None:
    (folder / TOKENIZER).write_text(tokenizer_json(checkpoint.tokenizer), encoding="utf-8")
    model, image = checkpoint.model, folder / graph_file("image", "fp32")
    text = folder / graph_file("text", "fp32")
    say("exporting the image tower")
    tower = towers.SiglipImage if checkpoint.family == "siglip" else towers.ClipImage
    towers.export_image(tower(model, checkpoint.normalisation), checkpoint.image.size, image)
    say("exporting the text tower")
    reader = towers.SiglipText if checkpoint.family == "siglip" else towers.ClipText
    towers.export_text(reader(model), checkpoint.text.context_length, text)
    for tower_name, fp32 in zip(TOWERS, (image, text), strict=True):
        if "int8" in precisions:
            say(f"quantising the {tower_name} tower to int8")
            quantize(fp32, folder / graph_file(tower_name, "int8"))
        if "fp16" in precisions:
            say(f"converting the {tower_name} tower to fp16")
            to_fp16(fp32, folder / graph_file(tower_name, "fp16"))


def _manifest(checkpoint: Checkpoint, folder: Path, precisions: Sequence[Precision]) -> Manifest:
    files = {path.name: file_entry(path) for path in sorted(folder.iterdir())}
    fingerprint = space_fingerprint(
        checkpoint.source.weights_sha256, files[TOKENIZER].sha256, checkpoint.image, checkpoint.text
    )
    return Manifest(
        name=checkpoint.name,
        source=checkpoint.source,
        license=checkpoint.license,
        pretrained=checkpoint.pretrained,
        dimension=checkpoint.dimension,
        image=checkpoint.image,
        text=checkpoint.text,
        scoring="sigmoid" if checkpoint.family == "siglip" else "softmax",
        logit_scale=checkpoint.logit_scale,
        logit_bias=checkpoint.logit_bias,
        precisions={tower: list(precisions) for tower in TOWERS},
        preferred_cpu=dict.fromkeys(TOWERS, "int8" if "int8" in precisions else "fp32"),
        preferred_gpu=dict.fromkeys(TOWERS, "fp16" if "fp16" in precisions else "fp32"),
        fingerprint=fingerprint,
        files=files,
        known_answer=_known_answer(checkpoint, folder),
    )


def _known_answer(checkpoint: Checkpoint, folder: Path) -> KnownAnswer:
    threads = available_cpus()
    image = OnnxSession(folder / graph_file("image", "fp32"), "cpu", threads)
    text = OnnxSession(folder / graph_file("text", "fp32"), "cpu", threads)
    tokens = TextTokenizer(folder, checkpoint.text).encode([KNOWN_TEXT])
    pixels = known_answer_pixels(checkpoint.image.size)[np.newaxis]
    return KnownAnswer(
        text=KNOWN_TEXT,
        text_vector=encode_vector(text.run(pad(tokens, checkpoint.text))[0]),
        image_vector=encode_vector(image.run({"pixels": pixels})[0]),
    )
