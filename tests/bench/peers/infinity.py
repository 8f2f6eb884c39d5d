"""infinity-emb as its users start it: an environment and a process of its own, the same weights."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from encoder_service.bundle import read_manifest
from encoder_service.export.sources.random_weights import random_encoder, seed_of

PACKAGES = Path(__file__).with_name("infinity.txt")
MODEL = "clip"
START_S = 120.0
STOP_S = 30.0

PeerPrecision = Literal["float32", "int8"]


def install(folder: Path) -> None:
    """Makes the environment in `folder` unless it is there, of these very packages."""
    made = folder / PACKAGES.name
    if made.is_file() and made.read_bytes() == PACKAGES.read_bytes():
        return
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=120)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "install", "--requirement", str(PACKAGES)], check=True, timeout=1200)
    shutil.copy(PACKAGES, made)


def write_checkpoint(bundle: Path, folder: Path) -> None:
    """The weights that the bundle was exported from, as transformers 4 reads them."""
    if (folder / "tokenizer_config.json").is_file():
        return
    import transformers
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    seed = seed_of(read_manifest(bundle).source)
    if seed is None:
        raise ValueError(f"{bundle} has no random weights: there is no way back to its checkpoint")
    encoder = random_encoder(*seed)
    folder.mkdir(parents=True, exist_ok=True)
    encoder.model.save_pretrained(folder)
    library: Any = transformers  # most of it has no types
    tokenizer = library.PreTrainedTokenizerFast(
        tokenizer_object=encoder.tokenizer,
        model_max_length=encoder.text.context_length,
        pad_token="<|endoftext|>",
        bos_token="<|startoftext|>",
        eos_token="<|endoftext|>",
    )
    library.CLIPProcessor(image_processor=CLIPImageProcessorPil(), tokenizer=tokenizer).save_pretrained(
        folder
    )
    # transformers 5 writes the name of a class that 4 does not know.
    settings = folder / "tokenizer_config.json"
    written = settings.read_text(encoding="utf-8").replace("TokenizersBackend", "CLIPTokenizerFast")
    settings.write_text(written, encoding="utf-8")


class Infinity:
    """An infinity-emb server; a context manager that ends it. Warmed up by itself before it serves."""

    def __init__(self, environment: Path, checkpoint: Path, precision: PeerPrecision, log: Path) -> None:
        self._command = [
            *(str(environment / "bin" / "infinity_emb"), "v2", "--model-id", str(checkpoint)),
            *("--served-model-name", MODEL, "--engine", "torch", "--device", "cpu"),
            # As it advises for CPUs: without the compiler, and BetterTransformer is no more.
            *("--no-compile", "--no-bettertransformer", "--dtype", precision, "--host", "127.0.0.1"),
        ]
        self._log = log
        self._process: subprocess.Popen[bytes]
        self.address = ""

    def __enter__(self) -> Self:
        port = _free_port()
        self.address = f"http://127.0.0.1:{port}"
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*self._command, "--port", str(port)],
                env={**os.environ, "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self._await_serving()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _await_serving(self) -> None:
        begun = time.perf_counter()
        while True:
            if self._process.poll() is not None:
                tail = "\n".join(self._log.read_text(errors="replace").splitlines()[-10:])
                raise RuntimeError(f"infinity-emb exited with {self._process.returncode}:\n{tail}")
            if time.perf_counter() - begun > START_S:
                raise RuntimeError(f"infinity-emb does not serve after {START_S} s")
            try:
                with urllib.request.urlopen(f"{self.address}/health", timeout=5):
                    return
            except OSError:
                time.sleep(0.2)

    def _end(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
