"""The figures that a run comes down to."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench.encoder.comparison import Comparison
from tests.bench.encoder.plan import Memory, OpenLoop
from tests.bench.results import Bound, Results

BOUNDS = {
    "image_vs_torch": Bound(">=", 4),
    "text_vs_torch": Bound(">=", 15),
    "image_vs_session": Bound(">=", 0.85),
    "text_p50_ms_one_client": Bound("<=", 8),
    "overload_goodput_ratio": Bound(">=", 0.9),
    "seconds_to_serving_starter": Bound("<=", 3),
    "rss_growth_mb_after_10k_requests": Bound("<=", 50),
}

MEANING = {
    "image_per_s": "640x480 JPEGs a second, int8 service, 16 clients with one image a call; median of 3",
    "text_per_s": "queries of 3-12 words a second, the same way; no query is ever sent twice",
    "torch_image_per_s": "transformers + torch fp32, JPEG bytes to vectors, at its best batch; median of 3",
    "torch_text_per_s": "the same for queries, padded to 77 tokens",
    "torch_text_longest_per_s": "the same, padded to the longest text of the batch",
    "session_image_per_s": "bare ONNX Runtime session, int8, ready tensors, at its best batch; median of 3",
    "image_vs_torch": "image_per_s / torch_image_per_s",
    "text_vs_torch": "text_per_s / torch_text_per_s",
    "text_vs_torch_longest": "text_per_s / torch_text_longest_per_s",
    "image_vs_session": "image_per_s / session_image_per_s",
    "image_vs_session_from_jpeg": "image_per_s / the same session fed with JPEGs that all cores decode",
    "image_vs_fp32": "image_per_s / the same of the fp32 service",
    "text_vs_fp32": "text_per_s / the same of the fp32 service",
    "text_p50_ms_one_client": "latency of a query when nobody else asks, int8; median of 3",
    "overload_goodput_ratio": "the smaller of the two towers' ratios",
    "image_overload_goodput_ratio": "images answered in time (1 s) at twice the knee / at the best rate",
    "text_overload_goodput_ratio": "the same for queries",
    "image_knee_per_s": "highest offered rate with 95% answered in time and p99 within 500 ms",
    "text_knee_per_s": "the same for queries, p99 within 200 ms",
    "seconds_to_serving_starter": "from the start of the process to SERVING, starter bundle; median of 3",
    "peak_rss_mb": "most memory the int8 service ever had resident, MB (10**6 bytes)",
    "rss_growth_mb_after_10k_requests": "int8 service, resident after 10,000 mixed calls less before",
    "other_cores": "cores that processes outside the benchmark kept busy, mean over the run",
}


@dataclass(frozen=True, kw_only=True)
class Run(Results):
    """The measurements of a run."""

    bounds = BOUNDS
    meaning = MEANING

    seconds_to_serving: Sequence[float]
    comparison: Comparison
    open: Sequence[OpenLoop]
    memory: Memory

    def figures(self) -> dict[str, float | None]:
        """The keys of MEANING."""
        service, base = self.comparison.service, self.comparison.baseline_per_s
        image, text = (service("int8", tower).summary.ok_per_s for tower in ("image", "text"))
        loops = {loop.tower: loop for loop in self.open}
        return {
            "image_per_s": image,
            "text_per_s": text,
            "torch_image_per_s": base("torch_image"),
            "torch_text_per_s": base("torch_text"),
            "torch_text_longest_per_s": base("torch_text_longest"),
            "session_image_per_s": base("session_image"),
            "image_vs_torch": image / base("torch_image"),
            "text_vs_torch": text / base("torch_text"),
            "text_vs_torch_longest": text / base("torch_text_longest"),
            "image_vs_session": image / base("session_image"),
            "image_vs_session_from_jpeg": image / base("session_image_from_jpeg"),
            "image_vs_fp32": image / service("fp32", "image").summary.ok_per_s,
            "text_vs_fp32": text / service("fp32", "text").summary.ok_per_s,
            "text_p50_ms_one_client": service("int8", "text", 1).summary.p50_ms,
            "overload_goodput_ratio": min(loop.goodput_ratio for loop in self.open),
            "image_overload_goodput_ratio": loops["image"].goodput_ratio,
            "text_overload_goodput_ratio": loops["text"].goodput_ratio,
            "image_knee_per_s": loops["image"].knee_per_s,
            "text_knee_per_s": loops["text"].knee_per_s,
            "seconds_to_serving_starter": statistics.median(self.seconds_to_serving),
            "peak_rss_mb": self.memory.peak_mb,
            "rss_growth_mb_after_10k_requests": self.memory.rss_mb[-1] - self.memory.rss_mb[0],
            "other_cores": self.other_cores,
        }
