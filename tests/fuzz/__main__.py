"""`make fuzz`: fires hostile inputs at both services; counts to build/fuzz.json, status 1 for a fault."""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from tests.bench.machine import describe
from tests.fuzz.campaign import Input, Result, chunks, send_all
from tests.fuzz.rpcs import ENCODER, SEARCH
from tests.fuzz.stage import ENCODER_BUDGET, SEARCH_BUDGET, Failed, Stage

_PACKAGES = ("grpcio", "protobuf", "pillow", "hypothesis", "qdrant-edge-py", "onnxruntime")
MIB = 2**20 / 1e6
# Whatever is fired: a pod of 1.5 GiB must hold it.
MOST_MB = 1536 * MIB


BUDGETS = {ENCODER: ENCODER_BUDGET, SEARCH: SEARCH_BUDGET}


def memory_limit_mb(base_mb: float, budget: Mapping[str, str]) -> float:
    """What a service may take, MB: as much as at its start, its budget of MiB, and a fifth of both."""
    return round(min(MOST_MB, 1.2 * (base_mb + MIB * sum(map(int, budget.values())))), 1)


def main() -> None:
    """Parses the flags and runs."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model", type=Path, default=Path("build/models/starter"))
    parser.add_argument("--out", type=Path, default=Path("build/fuzz.json"))
    parser.add_argument("--replay", type=Path, help="a file of failing inputs that a run has left")
    flags = parser.parse_args()
    folder = flags.out.parent / "fuzz"
    shutil.rmtree(folder, ignore_errors=True)
    if flags.replay is not None:
        sys.exit(replay(flags.replay, folder, flags.model))
    report = run(flags.inputs, flags.seed, folder, flags.model)
    flags.out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"{report['inputs']} inputs in {report['seconds']} s, {report['failures']} failures: {flags.out}")
    sys.exit(0 if report["passed"] else 1)


def run(inputs: int, seed: int, folder: Path, bundle: Path) -> dict[str, object]:
    """Fires; returns the report. Failing inputs are left in fuzz-failures.jsonl beside `folder`."""
    result = Result()
    died = ""
    start = time.monotonic()
    with Stage(folder, bundle) as stage:
        stage.check()
        try:
            for number, sent in enumerate(chunks(inputs, seed)):
                asyncio.run(send_all(stage, sent, result))
                stage.check()
                stage.tidy()
                print(
                    f"chunk {number}: {result.inputs.total()} inputs, {len(result.failures)} failures",
                    flush=True,
                )
        except Failed as error:
            died = str(error)
        faults = stage.faults_logged()
    failures = "".join(json.dumps(each) + "\n" for each in result.failures)
    folder.with_name("fuzz-failures.jsonl").write_text(failures)
    peak = stage.peak_mb
    limits = {name: memory_limit_mb(stage.rss_mb[name][0], budget) for name, budget in BUDGETS.items()}
    too_much = [name for name in peak if peak[name] >= limits[name]]
    return {
        "inputs": result.inputs.total(),
        "passed": not (result.failures or died or faults or too_much),
        "failures": len(result.failures),
        "died": died,
        "faults_logged": faults[:20],
        "seed": seed,
        "seconds": round(time.monotonic() - start),
        "inputs_by_kind": dict(result.inputs),
        "statuses_by_method": {name: dict(codes) for name, codes in sorted(result.calls.items())},
        "peak_mb": peak,
        "peak_limit_mb": limits,
        "rss_mb": stage.rss_mb,
        "problems": sorted({each["problem"] for each in result.failures})[:50],
        "machine": describe(_PACKAGES),
    }


def replay(file: Path, folder: Path, bundle: Path) -> int:
    """Sends the inputs of a file again, one by one; 1 if any still fails."""
    entries = [json.loads(line) for line in file.read_text().splitlines()]
    result = Result()
    with Stage(folder, bundle) as stage:
        for entry in entries:
            sent = Input(entry["kind"], entry["method"], bytes.fromhex(entry["hex"]))
            before = len(result.failures)
            asyncio.run(send_all(stage, [sent], result))
            now = [failure["problem"] for failure in result.failures[before:]]
            print(f"{sent.method}, {len(sent.data)} bytes: {now or 'passes'} (was: {entry['problem']})")
            stage.check()
        for fault in stage.faults_logged():
            print(fault)
    return 1 if result.failures else 0


if __name__ == "__main__":
    main()
