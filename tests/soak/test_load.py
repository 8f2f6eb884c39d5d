"""The load harness on real services: a short run leaves all its files, and its figures fit together."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from clipsearch.plan.profile import load
from clipsearch.plan.simulate import machine_knee_qps
from tests.processes import environment
from tests.soak.share import in_a_soak, limit, share_of

REPOSITORY = Path(__file__).parent.parent.parent

pytestmark = [in_a_soak, limit]


def test_a_short_load_reports_and_leaves_a_profile_for_the_plan(starter_bundle: Path, tmp_path: Path) -> None:
    flags = ["--model", starter_bundle, "--out", tmp_path, "--points", 300, "--scenarios", "text"]
    run = subprocess.run(
        [sys.executable, "-m", "tests.load", *map(str, flags), "--seconds", str(share_of(112, least=40))],
        cwd=REPOSITORY,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["errors"] == 0, summary["errors_by_kind"]
    assert summary["recall_at_10"] == 1.0  # so few points are searched exactly
    (text,) = summary["scenarios"]
    assert text["capacity_qps"] > 1
    purposes = [step["purpose"] for step in text["steps"]]
    assert {"half", "double"} <= set(purposes)
    for step in text["steps"]:
        # Poisson arrivals: what came is what was offered, give or take five standard deviations.
        seconds = step["end"] - step["start"]
        offered, meant = step["result_offered_per_s"] * seconds, step["rate"] * seconds
        assert abs(offered - meant) < 5 * meant**0.5 + 5, step
    page = (tmp_path / "report.html").read_text()
    assert "clipsearch under load" in page
    assert "<script" not in page
    assert "http://" not in page
    assert "https://" not in page
    for name in ("locust.html", "locust_stats.csv"):
        assert (tmp_path / name).stat().st_size > 0
    # How far the plan and the load are apart, `make load` tells; beside busy neighbours that is anything,
    # and perhaps no rate is borne.
    borne = summary["text_search_knee_qps"] is not None
    assert (tmp_path / "profile.json").exists() == borne
    if borne:
        profile = load(tmp_path / "profile.json")
        assert profile.knee_qps == pytest.approx(summary["text_search_knee_qps"], abs=0.01)
        assert summary["plan_knee_qps"] == pytest.approx(machine_knee_qps(profile), abs=0.01)
