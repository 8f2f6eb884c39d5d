"""Measures a bundle on the golden images and texts and writes the report into its manifest.

Needs torch only to compare with the source's own forward pass, and leaves that out where the source
(or torch) is not at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Generic

import numpy as np

from encoder_service.bundle import (
    Manifest,
    ParityCheck,
    Precision,
    Tower,
    Vectors,
    decode_vector,
    graph_file,
    known_answer_pixels,
    open_bundle,
    write_manifest,
)
from encoder_service.export import ExportError, Progress, golden, parity
from encoder_service.inputs.pixels import fit
from encoder_service.inputs.texts import TextTokenizer, Tokens, pad
from encoder_service.machine import available_cpus
from encoder_service.runtime.providers import ProviderName, choose_provider
from encoder_service.runtime.session import Item, OnnxSession, Pixels, Run, plain_images, plain_texts

if TYPE_CHECKING:
    from encoder_service.export.dual_encoder import DualEncoder

# How many items the slow comparisons take: torch, and one by one.
_SOME = 24
_BATCH = 16

Open = Callable[[Tower, Precision], OnnxSession]


def verify_bundle(
    folder: Path,
    *,
    source: str | None = None,
    provider: ProviderName = "cpu",
    progress: Progress = lambda message: None,
) -> list[ParityCheck]:
    """Checks the files, measures on the provider, writes the report into the manifest and returns it.

    `source` is the checkpoint (folder or hub id) that the bundle was made from; without it, random
    weights are made again by their seed and a hub id is looked for in the hub's cache. A tower that
    misses a bound of int8 or fp16 is set back to fp32.
    Raises BundleError, ExportError, SessionError, WheelError.
    """
    choose_provider(provider, 0)
    manifest = open_bundle(folder)
    photos = golden.photos(progress)
    encoder = _encoder(manifest, source, progress)
    checks = check_bundle(folder, manifest, photos, encoder, progress, provider)
    manifest = report(manifest, checks)
    write_manifest(folder, manifest)
    return checks


def report(manifest: Manifest, checks: Sequence[ParityCheck]) -> Manifest:
    """The manifest with these checks, and fp32 preferred where a lower precision missed a bound.

    Checks of an earlier report that were not repeated stay: the files have not changed since.
    """
    made = {(check.name, check.tower, check.metric) for check in checks}
    kept = [check for check in manifest.parity if (check.name, check.tower, check.metric) not in made]
    parity_report = [*checks, *kept]
    update = {
        "parity": parity_report,
        "preferred_cpu": _where_passed(manifest.preferred_cpu, parity_report),
        "preferred_gpu": _where_passed(manifest.preferred_gpu, parity_report),
    }
    return manifest.model_copy(update=update)


def _where_passed(preferred: dict[Tower, Precision], checks: Sequence[ParityCheck]) -> dict[Tower, Precision]:
    """The same with fp32 for a precision that missed a bound."""
    missed = {(check.tower, check.name.split()[0]) for check in checks if not check.passed}
    return {
        tower: "fp32" if (tower, precision) in missed else precision for tower, precision in preferred.items()
    }


def check_bundle(
    folder: Path,
    manifest: Manifest,
    photos: list[golden.Photo],
    encoder: DualEncoder | None,
    progress: Progress = lambda message: None,
    provider: ProviderName = "cpu",
) -> list[ParityCheck]:
    """All comparisons that can be made, `encoder` being the source if it is at hand.

    On a card they are of the graphs that a card runs, and their names say where they were made.
    """

    def open_graph(tower: Tower, precision: Precision) -> OnnxSession:
        return OnnxSession(folder / graph_file(tower, precision), provider, available_cpus())

    if provider == "cuda":
        made = {tower: [p for p in there if p != "int8"] for tower, there in manifest.precisions.items()}
        manifest = manifest.model_copy(update={"precisions": made})

    def open_images(precision: Precision) -> Run[Pixels]:
        return plain_images(open_graph("image", precision)).run

    def open_texts(precision: Precision) -> Run[Tokens]:
        return plain_texts(open_graph("text", precision), manifest.text).run

    texts = [text for pair in golden.text_pairs() for text in pair]
    tokenizer = TextTokenizer(folder, manifest.text)
    tokens = tokenizer.encode(texts)
    views = list(golden.pixels(photos, manifest.image))
    known, answer = known_answer_pixels(manifest.image.size), manifest.known_answer
    images = Case("image", views, golden.VIEWS, open_images, known, answer.image_vector)
    words = Case("text", tokens, 2, open_texts, tokenizer.encode([answer.text])[0], answer.text_vector)
    if encoder is not None:
        from encoder_service.export.dual_encoder import reference_images, reference_texts

        images.by_torch = partial(reference_images, encoder)
        words.by_torch = partial(reference_texts, encoder)
    checks = _tower_checks(images, manifest.precisions["image"], progress)
    checks += _tower_checks(words, manifest.precisions["text"], progress)
    checks += _padding_checks(open_graph, manifest, tokens)
    checks += _cross_checks(
        manifest, images, words, tokenizer.encode([photo.caption for photo in photos]), photos
    )
    if encoder is not None:
        checks += _input_checks(encoder, photos, texts, tokens)
    if provider == "cuda":
        checks = [check.model_copy(update={"name": f"{check.name} on CUDA"}) for check in checks]
    return checks


@dataclass(slots=True)
class Case(Generic[Item]):
    """One tower and what it is measured on; `group_size` items in a row belong together.

    `by_torch` is the source's own forward pass, None where it is not at hand.
    """

    tower: Tower
    items: Sequence[Item]
    group_size: int
    open: Callable[[Precision], Run[Item]]
    known: Item
    known_vector: str
    by_torch: Run[Item] | None = None


def _tower_checks(case: Case[Item], precisions: Sequence[Precision], say: Progress) -> list[ParityCheck]:
    """One session open at a time: large models barely fit in memory twice."""
    checks: list[ParityCheck] = []
    some = case.items[:: max(1, len(case.items) // _SOME)]
    known = decode_vector(case.known_vector)
    fp32: Vectors | None = None
    for precision in sorted(precisions, key=lambda p: p != "fp32"):
        say(f"{case.tower} tower, {precision}: {len(case.items)} items")
        run = case.open(precision)
        vectors = _in_batches(run, case.items, _BATCH)
        checks.append(parity.known_answer(case.tower, precision, run([case.known]), known))
        # A batch of all: short texts are padded to the longest, so this shows cutting as well.
        checks.append(parity.batch_mates(case.tower, precision, run(some), _in_batches(run, some, 1)))
        if precision == "fp32":
            fp32 = vectors
            if case.by_torch is not None:
                checks.append(parity.against_torch(case.tower, run(some), case.by_torch(some)))
        elif fp32 is not None:
            checks += parity.against_fp32(case.tower, precision, vectors, fp32, case.group_size)
    return checks


def _padding_checks(open_graph: Open, manifest: Manifest, tokens: Sequence[Tokens]) -> list[ParityCheck]:
    """Cut to its own length, a text must be what it is padded to the whole context."""
    rules = manifest.text
    if rules.padding != "longest" or "fp32" not in manifest.precisions["text"]:
        return []
    some = tokens[:: max(1, len(tokens) // _SOME)]
    session = open_graph("text", "fp32")
    cut = _in_batches(plain_texts(session, rules).run, some, 1)
    padded = plain_texts(session, rules.model_copy(update={"padding": "max_length"})).run(some)
    return [parity.same_vectors("fp32 cut against padded to the context", "text", cut, padded)]


def _input_checks(
    encoder: DualEncoder, photos: list[golden.Photo], texts: Sequence[str], tokens: Sequence[Tokens]
) -> list[ParityCheck]:
    """What the bundle's rules make of images and texts, against what the library makes of them."""
    values = encoder.normalisation
    scale, shift = (np.array(v).reshape(3, 1, 1) for v in values.scale_and_shift())
    steps = []
    for photo in photos:
        own_pixels = (encoder.own_pixels(photo.image).numpy() - shift) / scale
        pixels = np.asarray(fit(photo.image, encoder.image), np.float32).transpose(2, 0, 1)
        steps.append(float(np.abs(own_pixels - pixels).mean()))
    name, most = "pixels against the library's own", parity.MAX_MEAN_STEPS
    checks = [parity.check(name, "image", "mean difference", max(steps), len(photos), most=most)]
    if encoder.own_tokens is not None:
        own = encoder.own_tokens(texts)
        mine = pad(tokens, encoder.text.model_copy(update={"padding": "max_length"}))["input_ids"]
        share = float((own == mine).all(axis=1).mean())
        name, least = "tokens against the library's own", parity.MIN_EQUAL_TOKENS
        checks.append(parity.check(name, "text", "share equal", share, len(texts), least=least))
    return checks


def _cross_checks(
    manifest: Manifest,
    images: Case[Pixels],
    words: Case[Tokens],
    captions: Sequence[Tokens],
    photos: Sequence[golden.Photo],
) -> list[ParityCheck]:
    """Captions to images; told, not judged: too few captions, and random weights find nothing."""
    said = np.array([photo.caption for photo in photos])
    relevant = said[:, np.newaxis] == np.repeat(said, golden.VIEWS)[np.newaxis]
    checks = []
    for precision in manifest.precisions["text"]:
        # A tower without this precision runs in fp32 beside the other.
        sighted = precision if precision in manifest.precisions["image"] else "fp32"
        texts = words.open(precision)(captions)
        views = _in_batches(images.open(sighted), images.items, _BATCH)
        found = 100 * parity.recall(texts @ views.T, relevant)
        name = f"{precision} text to {sighted} images"
        checks.append(parity.check(name, "text", f"R@{parity.RECALL_AT}, %", found, len(said)))
    return checks


def _in_batches(run: Run[Item], items: Sequence[Item], size: int) -> Vectors:
    return np.concatenate([run(items[i : i + size]) for i in range(0, len(items), size)])


def _encoder(manifest: Manifest, source: str | None, say: Progress) -> DualEncoder | None:
    """The bundle's source, if it can be had without a download that nobody asked for."""
    try:
        found = _found(manifest, source, say)
    except ModuleNotFoundError as error:
        if source is not None:
            raise
        say(f"{error.name} is not installed: not compared with the source's own forward pass")
        return None
    if found is None or found.source.weights_sha256 == manifest.source.weights_sha256:
        return found
    if source is not None:
        raise ExportError(f"{source} has other weights than the bundle was made from")
    say(f"what {found.name} gives here has other weights than the bundle: not compared with it")
    return None


def _found(manifest: Manifest, source: str | None, say: Progress) -> DualEncoder | None:
    from encoder_service.export.sources.load import load, load_random
    from encoder_service.export.sources.random_weights import seed_of

    dimension, made = manifest.dimension, seed_of(manifest.source)
    if source is not None:
        return load(source, dimension=dimension)
    if made is not None:
        return load_random(*made, dimension=dimension)
    revision = manifest.source.revision or None
    try:
        return load(manifest.source.id, revision=revision, dimension=dimension, local_files_only=True)
    except ExportError:
        say("the source is not at hand (name it with --source): not compared with its own forward pass")
        return None
