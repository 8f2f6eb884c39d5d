"""What a run on a card gives: build/bench/gpu.json, and the table for docs/performance.md."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

# By tower ("image", "text") and batch size.
Rates = dict[str, dict[int, float]]


@dataclass(slots=True)
class Figures:
    """All that was measured; None or empty where it was not. Rates are items a second."""

    device: str
    date: str
    versions: dict[str, str]
    flops: dict[str, float]
    matmul_tflops: float | None = None
    session: Rates = field(default_factory=dict)
    eager: Rates = field(default_factory=dict)
    compile: Rates = field(default_factory=dict)
    p50_ms_batch1: float | None = None
    cosine: dict[str, float] = field(default_factory=dict)
    memory_growth_mb: float | None = None
    service_raw_per_s: float | None = None
    service_jpeg_per_s: float | None = None
    not_measured: list[str] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """The figures under the names that others look for; ratios are of the best batch sizes."""
        image, text = best(self.session, "image"), best(self.session, "text")
        tflops = image * self.flops["image"] / 1e12 if image else None
        return {
            "device": self.device,
            "session_image_per_s": image,
            "service_image_per_s": self.service_raw_per_s,
            "compile_image_per_s": best(self.compile, "image"),
            "image_vs_compile": ratio(image, best(self.compile, "image")),
            "text_vs_compile": ratio(text, best(self.compile, "text")),
            "image_tflops": tflops,
            "fraction_of_matmul_peak": ratio(tflops, self.matmul_tflops),
            "service_vs_session": ratio(self.service_raw_per_s, image),
            "p50_ms_batch1": self.p50_ms_batch1,
            **asdict(self),
        }

    def write(self, path: Path) -> None:
        """After each step: a run that is cut off leaves what it has."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.summary(), indent=2) + "\n", encoding="utf-8")

    def table(self) -> str:
        """Markdown, with the card's name and the date."""
        rows = [
            f"`make bench-gpu`, {self.date[:10]}, {self.device}, CLIP ViT-B/32 with random weights, fp16:",
            "",
            "| items a second, best batch | clipsearch session | torch eager | torch.compile | ratio |",
            "|---|---|---|---|---|",
        ]
        for tower, what in (("image", "images"), ("text", "texts of 12 words")):
            mine, compiled = best(self.session, tower), best(self.compile, tower)
            cells = [_number(mine), _number(best(self.eager, tower)), _number(compiled)]
            rows.append(f"| {what} | {' | '.join(cells)} | {_number(ratio(mine, compiled), 2)} |")
        summary = self.summary()
        served = [f"{_number(rate)}/s" for rate in (self.service_raw_per_s, self.service_jpeg_per_s)]
        tflops, share = _number(summary["image_tflops"]), _number(summary["fraction_of_matmul_peak"], 2)
        rows += [
            "",
            f"Service: raw pixels {served[0]}, JPEGs {served[1]}. One image, p50: "
            f"{_number(self.p50_ms_batch1, 2)} ms. {tflops} TFLOP/s, {share} of a large fp16 product.",
        ]
        rows += [f"Not measured: {reason}." for reason in self.not_measured]
        return "\n".join(rows)


def best(rates: Rates, tower: str) -> float | None:
    """The rate at the best batch size."""
    return max(rates.get(tower, {}).values(), default=None)


def ratio(mine: float | None, other: float | None) -> float | None:
    """None where one of them was not measured."""
    return mine / other if mine is not None and other else None


def _number(value: float | None, digits: int = 0) -> str:
    return "not measured" if value is None else f"{value:,.{digits}f}"
