"""From settings to an encoder that has proved itself, or to one clear line."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
from structlog.testing import capture_logs

from encoder_service import loading
from encoder_service.bundle import (
    BundleError,
    KnownAnswer,
    Manifest,
    ParityCheck,
    file_entry,
    graph_file,
    read_manifest,
    write_manifest,
)
from encoder_service.encoder import Encoded
from encoder_service.loading import open_encoder
from encoder_service.runtime.providers import choose_precision
from encoder_service.runtime.session import SessionError
from encoder_service.settings import EncoderSettings


@pytest.fixture
def bundle(toy_bundle: Path, tmp_path: Path) -> Path:
    """A bundle of one's own, to be spoiled."""
    return Path(shutil.copytree(toy_bundle, tmp_path / "bundle"))


def settings(folder: Path, **changes: object) -> EncoderSettings:
    return EncoderSettings(model=folder, **{"max_batch": 8, "max_batch_tokens": 128, **changes})  # type: ignore[arg-type]


async def test_batch_sizes_are_measured_unless_they_are_given(toy_bundle: Path) -> None:
    with capture_logs() as logs:
        async with open_encoder(settings(toy_bundle, max_batch=0, max_batch_tokens=0)):
            pass
    told = {name: value for entry in logs for name, value in entry.items()}
    assert 4 <= told["max_batch"] <= 32
    assert 16 * 5 <= told["max_batch_tokens"] <= 64 * 5  # the known answer's text has 5 tokens


async def test_the_log_tells_what_runs_and_warns_of_random_weights(toy_bundle: Path) -> None:
    with capture_logs() as logs:
        async with open_encoder(settings(toy_bundle, max_batch=4, max_batch_tokens=100, threads=1)):
            pass
    told = {name: value for entry in logs for name, value in entry.items()}
    assert told["fingerprint"] == read_manifest(toy_bundle).fingerprint
    assert told["provider"] == "CPUExecutionProvider"
    assert told["provider_because"] == "the ONNX Runtime that is installed is the one for CPUs"
    assert (told["precision"], told["threads"]) == ("fp32", 1)
    assert (told["max_batch"], told["max_batch_tokens"]) == (4, 100)
    warnings = [entry["event"] for entry in logs if entry["log_level"] == "warning"]
    assert any("RANDOM weights" in str(event) for event in warnings)


async def fails(folder: Path, **changes: object) -> str:
    """The message of a bundle that does not open."""
    with pytest.raises((BundleError, SessionError)) as caught:
        async with open_encoder(settings(folder, **changes)):
            pass
    return str(caught.value)


async def test_a_folder_that_is_no_bundle(tmp_path: Path) -> None:
    assert "is not a model bundle" in await fails(tmp_path)


async def test_a_bundle_of_another_format_is_to_be_exported_again(bundle: Path) -> None:
    path = bundle / "manifest.json"
    path.write_text(path.read_text().replace('"format_version": 2', '"format_version": 1'))
    assert await fails(bundle) == f"{path} is of another format than 2; export the model again"


@pytest.mark.parametrize("name", ["image.fp32.onnx", "text.fp32.onnx", "tokenizer.json"])
async def test_an_altered_or_a_missing_file_is_named(bundle: Path, name: str) -> None:
    with (bundle / name).open("ab") as file:
        file.write(b"\n")
    assert f"{name} was altered" in await fails(bundle)
    (bundle / name).unlink()
    assert f"{name} is missing" in await fails(bundle)


async def test_a_model_that_gives_another_answer_than_when_it_was_made_does_not_serve(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    known = KnownAnswer(
        text=manifest.known_answer.text,
        text_vector=manifest.known_answer.image_vector,
        image_vector=manifest.known_answer.image_vector,
    )
    write_manifest(bundle, manifest.model_copy(update={"known_answer": known}))
    assert "the text graph (fp32) does not give the known answer" in await fails(bundle)


async def test_an_int8_graph_that_is_wrong_on_this_cpu_is_told_with_the_way_out(bundle: Path) -> None:
    manifest, known = read_manifest(bundle), read_manifest(bundle).known_answer
    name = graph_file("text", "int8")
    shutil.copy(bundle / graph_file("text", "fp32"), bundle / name)
    changes = {
        "files": {**manifest.files, name: file_entry(bundle / name)},
        "precisions": {"image": ["fp32"], "text": ["fp32", "int8"]},
        "preferred_cpu": {"image": "fp32", "text": "int8"},
        "known_answer": known.model_copy(update={"text_vector": known.image_vector}),
    }
    write_manifest(bundle, manifest.model_copy(update=changes))
    message = await fails(bundle)
    assert message.startswith("the text graph (int8) does not give the known answer: cosine ")
    assert message.endswith("export it again, or run fp32 with ENCODER_TEXT_PRECISION=fp32")
    assert "\n" not in message


async def test_a_precision_that_the_bundle_does_not_have(bundle: Path) -> None:
    assert "no int8 graph of the image tower; it has fp32" in await fails(bundle, image_precision="int8")


@pytest.fixture
def both(toy_bundle: Path) -> Manifest:
    """The manifest of a bundle with int8 graphs, preferred for texts only."""
    failed = ParityCheck(
        name="int8 to fp32, worst cosine", tower="image", metric="cosine", value=0.67, bound=0.99,
        passed=False, samples=50,
    )  # fmt: skip
    return read_manifest(toy_bundle).model_copy(
        update={
            "precisions": {"image": ["fp32", "int8"], "text": ["fp32", "int8"]},
            "preferred_cpu": {"image": "fp32", "text": "int8"},
            "parity": [failed],
        }
    )


def test_auto_follows_the_bundle_and_says_why_int8_does_not_run(both: Manifest) -> None:
    assert choose_precision(both, "text", "auto") == ("int8", "the bundle's choice for CPUs")
    assert choose_precision(both, "image", "int8")[0] == "int8"
    precision, reason = choose_precision(both, "image", "auto")
    assert precision == "fp32"
    assert reason == "int8 did not pass: int8 to fp32, worst cosine 0.6700, bound 0.99"


def test_a_gpu_runs_what_the_bundle_chose_for_gpus_else_fp32(both: Manifest) -> None:
    precision, reason = choose_precision(both, "text", "auto", "cuda")
    assert precision == "fp32"
    assert "the bundle has no fp16 graph" in reason
    halved = both.model_copy(
        update={
            "precisions": {tower: ["fp32", "int8", "fp16"] for tower in ("image", "text")},
            "preferred_gpu": {"image": "fp16", "text": "fp32"},
            "parity": [both.parity[0].model_copy(update={"name": "fp16 against fp32", "tower": "text"})],
        }
    )
    assert choose_precision(halved, "image", "auto", "cuda") == ("fp16", "the bundle's choice for GPUs")
    assert choose_precision(halved, "text", "auto", "cuda")[1].startswith("fp16 did not pass: fp16 against")
    assert choose_precision(halved, "text", "fp16", "cuda") == ("fp16", "asked for")


def test_int8_is_for_cpus(both: Manifest) -> None:
    with pytest.raises(BundleError, match="int8 was asked for in the text tower, which runs on CPUs only"):
        choose_precision(both, "text", "int8", "cuda")
    only = both.model_copy(update={"precisions": {"image": ["fp32"], "text": ["int8"]}})
    with pytest.raises(BundleError, match="no graph of the text tower for a GPU, fp16 or fp32; it has int8"):
        choose_precision(only, "text", "auto", "cuda")


@pytest.mark.parametrize("provider", ["auto", "cuda"])
async def test_what_a_card_cannot_run_goes_to_the_cpu_only_by_auto(
    toy_bundle: Path, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "choose_provider", lambda asked, device: ("cuda", "a card"))
    opened = loading.OnnxSession

    def open_on(path: Path, provider: str, *rest: Any, **card: int) -> Any:
        if provider == "cuda":
            raise SessionError(f"{path.name}: ArgMax would run on the CPU")
        return opened(path, provider, *rest, **card)

    monkeypatch.setattr(loading, "OnnxSession", open_on)
    if provider == "cuda":
        assert "ArgMax would run on the CPU" in await fails(toy_bundle, provider=provider)
        return
    with capture_logs() as logs:
        async with open_encoder(settings(toy_bundle)) as encoder:
            assert encoder.running.provider == "CPUExecutionProvider"
    assert any("ArgMax would run on the CPU" in str(entry.get("provider_because")) for entry in logs)


async def test_a_card_gets_batches_of_few_shapes(toy_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way of a card, with the CPU in its place: same vectors."""
    opened = loading.OnnxSession
    monkeypatch.setattr(loading, "choose_provider", lambda asked, device: ("cuda", "a card"))
    monkeypatch.setattr(
        loading, "OnnxSession", lambda path, provider, threads, **card: opened(path, "cpu", threads)
    )
    texts = [f"a red {'dog ' * n}photo" for n in range(1, 9)] * 3
    pixels = np.random.default_rng(1).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)

    async def vectors(**changes: object) -> list[np.ndarray]:
        async with open_encoder(settings(toy_bundle, **changes)) as encoder:
            outcomes = await asyncio.gather(encoder.encode_pixels(pixels), encoder.encode_texts(texts))
        return [outcome.vector for group in outcomes for outcome in group if isinstance(outcome, Encoded)]

    with capture_logs() as logs:
        by_card = await vectors(max_batch=0, max_batch_tokens=0)
    told = {name: value for entry in logs for name, value in entry.items()}
    assert 16 <= told["max_batch"] <= 512
    assert told["max_batch_tokens"] >= 64 * 8
    small = await vectors(max_batch=3, max_batch_tokens=20)
    monkeypatch.undo()
    plain = await vectors()
    assert len(by_card) == len(small) == len(plain) == 44
    assert np.array(by_card) == pytest.approx(np.array(plain), abs=1e-6)
    assert np.array(small) == pytest.approx(np.array(plain), abs=1e-6)


def teardown_module() -> None:
    structlog.reset_defaults()
