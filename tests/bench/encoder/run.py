"""Everything that one run measured, and the figures that it comes down to."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench.bounds import DISTURBED_CORES, Bound, head
from tests.bench.encoder.comparison import Comparison, Way
from tests.bench.encoder.plan import Memory, OpenLoop
from tests.bench.encoder.rig import Row

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
    "image_per_s": "640x480 JPEGs a second, int8 service, 16 clients with one picture a call; median of 3",
    "text_per_s": "queries of 3-12 words a second, the same way; no query is ever sent twice",
    "torch_image_per_s": "transformers + torch fp32, JPEG bytes to vectors, at its best batch; median of 3",
    "torch_text_per_s": "the same for queries, padded to 77 tokens",
    "torch_text_longest_per_s": "the same, padded to the longest text of the batch",
    "session_image_per_s": "bare ONNX Runtime session, int8, ready tensors, at its best batch; median of 3",
    "session_text_per_s": "the same for queries, padded to the longest text of the batch",
    "image_vs_torch": "image_per_s / torch_image_per_s",
    "text_vs_torch": "text_per_s / torch_text_per_s",
    "text_vs_torch_longest": "text_per_s / torch_text_longest_per_s",
    "image_vs_session": "image_per_s / session_image_per_s",
    "image_vs_session_from_jpeg": "image_per_s / the same session fed with JPEGs that all cores decode",
    "image_vs_session_fp32": "the fp32 service / the bare fp32 session",
    "text_vs_session": "text_per_s / session_text_per_s",
    "text_p50_ms_one_client": "latency of a query when nobody else asks, int8; median of 3",
    "overload_goodput_ratio": "the smaller of the two towers' ratios",
    "image_overload_goodput_ratio": "pictures answered in time (1 s) at twice the knee / at the best rate",
    "text_overload_goodput_ratio": "the same for queries",
    "image_knee_per_s": "highest offered rate with 95% answered in time and p99 within 500 ms",
    "text_knee_per_s": "the same for queries, p99 within 200 ms",
    "seconds_to_serving_starter": "from the start of the process to SERVING, starter bundle; median of 3",
    "peak_rss_mb": "most memory the int8 service ever had resident, MB (10**6 bytes)",
    "rss_growth_mb_after_10k_requests": "int8 service, resident after 10,000 mixed calls less before",
    "other_cores": "cores that processes outside the benchmark kept busy, mean over the run",
}


@dataclass(frozen=True, slots=True)
class Run:
    """The measurements of a run."""

    machine: Mapping[str, object]
    seconds_to_serving: Sequence[float]
    comparison: Comparison
    closed: Sequence[Row]
    named: Sequence[Row]
    open: Sequence[OpenLoop]
    memory: Memory
    other_cores: float = 0.0  # known once all processes of the run have ended

    @property
    def disturbed(self) -> bool:
        """Whether other processes took so much that the figures are no evidence.

        Engines lose unequally: torch, whose threads wait for each other by spinning, loses far more to
        a busy neighbour than the service does, which flatters the ratio.
        """
        return self.other_cores > DISTURBED_CORES

    def met(self, name: str) -> bool | None:
        """Whether a figure keeps its bound; None if the machine was disturbed."""
        return None if self.disturbed else BOUNDS[name].holds(self.figures()[name])

    def figures(self) -> dict[str, float | None]:
        """The keys of MEANING; None where there is no such figure."""
        image, text = self.rate("int8", "image"), self.rate("int8", "text")
        base = self.comparison.per_s
        torch_image = base(Way("torch", "image", "fp32"))
        torch_text = base(Way("torch", "text", "fp32", "max_length"))
        torch_longest = base(Way("torch", "text", "fp32", "longest"))
        session_image = base(Way("session", "image", "int8"))
        session_text = base(Way("session", "text", "int8"))
        loops = {loop.tower: loop for loop in self.open}
        return {
            "image_per_s": image,
            "text_per_s": text,
            "torch_image_per_s": torch_image,
            "torch_text_per_s": torch_text,
            "torch_text_longest_per_s": torch_longest,
            "session_image_per_s": session_image,
            "session_text_per_s": session_text,
            "image_vs_torch": image / torch_image,
            "text_vs_torch": text / torch_text,
            "text_vs_torch_longest": text / torch_longest,
            "image_vs_session": image / session_image,
            "image_vs_session_from_jpeg": image / base(Way("session from JPEG", "image", "int8")),
            "image_vs_session_fp32": self.rate("fp32", "image") / base(Way("session", "image", "fp32")),
            "text_vs_session": text / session_text,
            "text_p50_ms_one_client": self._p50("int8", "text", 1),
            "overload_goodput_ratio": min(loop.goodput_ratio for loop in self.open),
            "image_overload_goodput_ratio": loops["image"].goodput_ratio,
            "text_overload_goodput_ratio": loops["text"].goodput_ratio,
            "image_knee_per_s": loops["image"].knee_per_s,
            "text_knee_per_s": loops["text"].knee_per_s,
            "seconds_to_serving_starter": statistics.median(self.seconds_to_serving),
            "peak_rss_mb": self.memory.peak_mb["int8"],
            "rss_growth_mb_after_10k_requests": self.memory.growth_mb,
            "other_cores": self.other_cores,
        }

    def document(self) -> dict[str, Any]:
        """What encoder.json holds: the figures first, then all that they were made from."""
        return {
            **head(self.figures(), BOUNDS, self.met),
            "disturbed": self.disturbed,
            "meaning": MEANING,
            "machine": dict(self.machine),
            "seconds_to_serving": self.seconds_to_serving,
            "baselines": [
                {"per_s": baseline.per_s, "batch": baseline.batch, **dataclasses.asdict(baseline)}
                for baseline in self.comparison.baselines
            ],
            "rounds": [dataclasses.asdict(row) for row in self.comparison.rows],
            "closed_loop": [dataclasses.asdict(row) for row in self.closed],
            "named_loads": [dataclasses.asdict(row) for row in self.named],
            "open_loop": [dataclasses.asdict(loop) for loop in self.open],
            "memory": dataclasses.asdict(self.memory),
        }

    def rate(self, service: str, kind: str, clients: int = 16) -> float:
        """Calls a second in a closed loop."""
        return self._row(service, kind, clients).summary.ok_per_s

    def _p50(self, service: str, kind: str, clients: int) -> float:
        p50 = self._row(service, kind, clients).summary.p50_ms
        if p50 is None:
            raise ValueError(f"{service}, {kind}, {clients} clients: no call was answered")
        return p50

    def _row(self, service: str, kind: str, clients: int) -> Row:
        wanted = (service, kind, clients)
        return next(row for row in self.closed if (row.service, row.kind, row.clients) == wanted)
