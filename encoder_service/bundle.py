"""The model bundle: one folder that holds a dual encoder and everything needed to run it rightly.

    manifest.json  image.<precision>.onnx  text.<precision>.onnx  tokenizer.json

Image graph: input `pixels`, uint8 [batch, size, size, 3] (RGB); scaling, normalisation, tower,
projection and L2 norm are inside; output `embeds`, float32 [batch, dimension].
Text graph: input `input_ids`, int64 [batch, sequence] (and `attention_mask`, int64, where
`text.attention_mask` is true); output `embeds`, float32 [batch, dimension], L2-normalised.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from clipsearch.files import write_whole

MANIFEST = "manifest.json"
TOKENIZER = "tokenizer.json"
# What bundles that are made here are asked for their known answer.
KNOWN_TEXT = "a photo of a cat"

Tower = Literal["image", "text"]
Precision = Literal["fp32", "int8", "fp16"]
Vectors = NDArray[np.float32]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class BundleError(Exception):
    """The bundle cannot be used; the message says which file and why."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ImageRules(_Part):
    """How an image becomes the square that the image graph takes."""

    size: int = Field(gt=0, le=4096, description="edge of the square, pixels")
    resize: Literal["crop", "squash", "pad"] = Field(
        description="crop: shortest edge to `resized`, then the centre; squash: both edges to `resized`, "
        "then the centre; pad: pasted in the middle of a square of `pad_factor` x the longer edge"
    )
    resized: int | None = Field(
        default=None, gt=0, le=8192, description="of which the middle `size` pixels stay; none: `size`"
    )
    half_pixel: Literal["down", "even"] = Field(
        default="down", description="where the centre begins if half a pixel remains on each side"
    )
    interpolation: Literal["bicubic", "bilinear", "lanczos"] = "bicubic"
    pad_factor: float = Field(default=1.0, ge=1.0, le=4.0)
    background: tuple[int, int, int] = (255, 255, 255)

    @property
    def edge(self) -> int:
        """What an edge is resized to before the centre is cut out, pixels."""
        return self.resized or self.size


class TextRules(_Part):
    """How a text becomes the ids that the text graph takes."""

    context_length: int = Field(gt=0, le=8192, description="tokens, special tokens included")
    pad_id: int = Field(ge=0)
    padding: Literal["longest", "max_length"] = Field(
        description="longest: to the longest text of the batch; max_length: always to context_length"
    )
    attention_mask: bool = Field(
        default=False, description="the text graph takes `attention_mask` beside `input_ids`"
    )
    lowercase: bool = Field(default=False, description="the text is lower-cased before tokenising")
    padding_side: Literal["right", "left"] = "right"
    truncation_side: Literal["right", "left"] = Field(
        default="right", description="where tokens are dropped; special tokens stay"
    )


class FileEntry(_Part):
    """A file of the bundle as it was written."""

    sha256: Sha256
    bytes: int = Field(ge=0)


class ParityCheck(_Part):
    """One comparison of `verify`: what was compared on how many samples, what came out, what was asked."""

    name: str
    tower: Tower
    metric: str
    value: float
    bound: float | None = Field(default=None, description="None: reported, not judged")
    passed: bool
    samples: int = Field(ge=1)


class KnownAnswer(_Part):
    """Vectors that the fp32 graphs gave when the bundle was made; the server must meet them again.

    The text is `text`, the image is `known_answer_pixels(size)`. Vectors are base64 of
    little-endian float32.
    """

    text: str
    text_vector: str
    image_vector: str


class Source(_Part):
    """Where the weights come from."""

    id: str = Field(description="Hugging Face id, folder name or package list")
    revision: str = Field(default="", description="commit, version or seed")
    weights_sha256: Sha256
    notes: str = ""


class Manifest(_Part):
    """`manifest.json`."""

    format_version: Literal[2]
    name: str = Field(min_length=1)
    source: Source
    license: str
    pretrained: bool
    dimension: int = Field(gt=0, le=65535)
    image: ImageRules
    text: TextRules
    scoring: Literal["softmax", "sigmoid"] = "softmax"
    logit_scale: float = Field(gt=0)
    logit_bias: float = 0.0
    weak_match_below: float = Field(default=0.0, description="text-to-image cosine; 0 = not known")
    precisions: dict[Tower, list[Precision]]
    preferred_cpu: dict[Tower, Precision] = Field(
        description="what a CPU should run; int8 only where its parity report passes"
    )
    preferred_gpu: dict[Tower, Precision] = Field(
        default={}, description="what a GPU should run; a tower that is not here runs in fp32 there"
    )
    fingerprint: str = Field(pattern=r"^[0-9a-f]{32}$")
    files: dict[str, FileEntry]
    known_answer: KnownAnswer
    parity: list[ParityCheck] = []


def space_fingerprint(
    weights_sha256: str,
    tokenizer_sha256: str,
    image: ImageRules,
    text: TextRules,
    computation: Mapping[str, object],
) -> str:
    """Identifies an embedding space: 32 hex digits over all that moves a vector.

    `computation` is what the graphs do with the weights: normalisation, configuration, how many numbers are
    kept; of JSON's types. Precision and everything else that leaves the space as it is stay out.
    """
    parts = {
        "weights": weights_sha256,
        "tokenizer": tokenizer_sha256,
        "image": image.model_dump(mode="json"),
        "text": text.model_dump(mode="json"),
        "computation": computation,
    }
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]


def graph_file(tower: Tower, precision: Precision) -> str:
    """File name of a graph inside its bundle."""
    return f"{tower}.{precision}.onnx"


def is_fp16(graph: Path) -> bool:
    """Whether a graph computes in fp16, by its file name."""
    return graph.name.endswith(".fp16.onnx")


def file_entry(path: Path) -> FileEntry:
    """Size and SHA-256 of a file."""
    with path.open("rb") as f:
        digest = hashlib.file_digest(f, "sha256").hexdigest()
    return FileEntry(sha256=digest, bytes=path.stat().st_size)


def known_answer_pixels(size: int) -> NDArray[np.uint8]:
    """The image of the known answer: colour ramps and a chequer, uint8 [size, size, 3]."""
    y, x = np.mgrid[0:size, 0:size]
    ramp = 255 // max(size - 1, 1)
    chequer = ((x // 16 + y // 16) % 2) * 255
    return np.stack([x * ramp, y * ramp, chequer], axis=-1).astype(np.uint8)


def encode_vector(vector: NDArray[np.float32]) -> str:
    """A float32 vector as the manifest stores it."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")


def decode_vector(text: str) -> NDArray[np.float32]:
    """The inverse of `encode_vector`."""
    return np.frombuffer(base64.b64decode(text), dtype="<f4").astype(np.float32)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes `manifest.json` so that a reader sees the old one or the new one, never half of it."""
    write_whole(folder / MANIFEST, f"{manifest.model_dump_json(indent=2)}\n".encode())


def read_manifest(folder: Path) -> Manifest:
    """Reads `manifest.json` without looking at the other files.

    Raises BundleError if the folder is no bundle or the manifest is not valid.
    """
    path = folder / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise BundleError(f"{folder} is not a model bundle: it has no {MANIFEST}") from None
    except ValueError as error:
        if isinstance(error, ValidationError) and any("format_version" in e["loc"] for e in error.errors()):
            raise BundleError(f"{path} is of another format than 2; export the model again") from None
        raise BundleError(f"{path} is not a valid manifest: {error}") from None


def check_files(folder: Path, manifest: Manifest) -> None:
    """Compares every file with the manifest. Raises BundleError for the first missing or altered one."""
    for name, expected in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise BundleError(f"{path} is missing; the bundle is incomplete")
        actual = file_entry(path)
        if actual != expected:
            raise BundleError(
                f"{path} was altered: sha256 {actual.sha256[:12]} ({actual.bytes} bytes), "
                f"the manifest says {expected.sha256[:12]} ({expected.bytes} bytes)"
            )


def open_bundle(folder: Path) -> Manifest:
    """Reads the manifest and checks every file against it. Raises BundleError."""
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    return manifest
