"""What an encoder can be told: flags and ENCODER_ variables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from clipsearch.serving.settings import MIB, ServingSettings

# For each label that a Classify request may have; the longest context takes some 1,000.
_PROMPT_BYTES = 4096


class EncoderSettings(ServingSettings):
    """Settings of the encoder service."""

    model_config = SettingsConfigDict(env_prefix="ENCODER_", extra="forbid", frozen=True)

    port: int = Field(default=50051, ge=0, le=65535, description="port to listen on; 0 = any free one")
    model: Path = Field(default=Path("build/models/starter"), description="folder of the model bundle")
    provider: Literal["auto", "cpu", "cuda"] = Field(
        default="auto",
        description="ONNX Runtime provider; one that is asked for is the one that runs, "
        "auto = CUDA where it can be had",
    )
    gpu_device: int = Field(default=0, ge=0, le=255, description="number of the GPU, as the driver counts")
    gpu_memory_mb: int = Field(
        default=0, ge=0, description="MiB of GPU memory that each tower's session may take; 0 = no limit"
    )
    image_precision: Literal["auto", "fp32", "int8", "fp16"] = Field(
        default="auto", description="graph of the image tower; auto = the bundle's choice"
    )
    text_precision: Literal["auto", "fp32", "int8", "fp16"] = Field(
        default="auto", description="graph of the text tower; auto = the bundle's choice"
    )

    threads: int = Field(
        default=0, ge=0, le=1024, description="threads of a session; 0 = the CPUs granted to the process"
    )
    decode_threads: int = Field(
        default=0,
        ge=0,
        le=1024,
        description="threads that decode images; 0 = the CPUs granted to the process",
    )
    decode_memory_mb: int = Field(
        default=0,
        ge=0,
        le=1024 * 1024,
        description="memory that decoding images may take in all, MiB; an image that needs more than 7/8 "
        "of it is refused; 0 = half of what the cgroup's limit leaves beside the model (without a limit: "
        "half of a quarter of the machine's memory)",
    )
    max_batch: int = Field(
        default=0, ge=0, le=1024, description="largest batch of images; 0 = measured at start"
    )
    max_batch_tokens: int = Field(
        default=0,
        ge=0,
        le=1024 * 1024,
        description="largest batch of texts, in tokens; 0 = measured at start",
    )

    queue_images: int = Field(
        default=512, ge=1, description="images accepted and not answered yet; further ones are refused"
    )
    queue_texts: int = Field(
        default=8192, ge=1, description="texts accepted and not answered yet; further ones are refused"
    )
    queue_bytes: int = Field(
        default=256 * MIB, ge=MIB, description="bytes of them, of images and of texts each"
    )
    text_cache_mb: int = Field(
        default=64,
        ge=0,
        le=64 * 1024,
        description="memory for vectors of texts seen before, MiB; 0 = none",
    )

    max_images: int = Field(default=64, ge=1, description="images in a request")
    max_texts: int = Field(default=256, ge=1, description="texts in a request")
    max_labels: int = Field(default=256, ge=1, description="labels, and templates, in a Classify request")
    max_image_bytes: int = Field(default=20 * MIB, ge=1024, description="bytes of an encoded image")
    max_text_bytes: int = Field(default=64 * 1024, ge=16, description="UTF-8 bytes of a text")

    @property
    def max_prompt_bytes(self) -> int:
        """UTF-8 bytes of all prompts of a Classify request."""
        return max(self.max_text_bytes, self.max_labels * _PROMPT_BYTES)

    @property
    def most_elements(self) -> Mapping[str, int]:  # noqa: D102
        package = "clipsearch.encoder.v1"
        return {
            f"{package}.EncodeTextRequest.texts": self.max_texts,
            f"{package}.EncodeImageRequest.images": self.max_images,
            f"{package}.ClassifyRequest.images": self.max_images,
            f"{package}.ClassifyRequest.labels": self.max_labels,
            f"{package}.ClassifyRequest.prompt_templates": self.max_labels,
        }
