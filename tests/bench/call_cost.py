"""`python -m tests.bench.call_cost [--before CHECKOUT]`: CPU time of a service for a small call.

With another checkout both serve in turn, round by round: what slows the machine slows both. Only pairs are to
be compared. Printed, and in build/bench/call_cost.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc

from clipsearch.encoder.v1 import encoder_pb2 as pb
from clipsearch.encoder.v1 import encoder_pb2_grpc
from clipsearch.encoder.v1.vector_pb2 import VECTOR_FORMAT_F32_BYTES
from tests.bench.bundles import OUT, ROOT, STARTER, build
from tests.bench.machine import OtherProcesses, describe
from tests.processes import Program, environment

WARM = 20
BODY = 150_000
KINDS = ("empty call", "refusal", "refusal, body of 150 KB", "GetModel", "EncodeText, cached")

# The encoder's place is taken by a service that does nothing: one call in progress is all that it takes.
TOY = textwrap.dedent(
    """
    import asyncio, contextlib
    from pydantic_settings import SettingsConfigDict
    from clipsearch.encoder.v1 import encoder_pb2, encoder_pb2_grpc
    from clipsearch.serving.lifecycle import serve
    from clipsearch.serving.service import Service
    from clipsearch.serving.settings import ServingSettings, load_settings
    from clipsearch.serving.telemetry.log import configure_logging

    class ToySettings(ServingSettings):
        model_config = SettingsConfigDict(env_prefix="TOY_", extra="forbid", frozen=True)

    class Toy(encoder_pb2_grpc.EncoderServiceServicer):
        async def GetModel(self, request, context):
            return encoder_pb2.GetModelResponse()

        async def Classify(self, request, context):
            await asyncio.sleep(3600)

    @contextlib.asynccontextmanager
    async def services(*_):
        add = lambda server: encoder_pb2_grpc.add_EncoderServiceServicer_to_server(Toy(), server)
        yield [Service("clipsearch.encoder.v1.EncoderService", add)]

    configure_logging("info", "json", "toy")
    asyncio.run(serve(load_settings(ToySettings), "toy", services))
    """
)


def main() -> None:
    """Measures, and writes what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.call_cost", description=__doc__)
    parser.add_argument("--before", type=Path, help="a checkout to pair this one with")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--calls", type=int, default=200, help="of each kind in a round")
    flags = parser.parse_args()
    build(STARTER)
    checkouts = {"after": ROOT}
    if flags.before is not None:
        checkouts = {"before": flags.before.resolve(), **checkouts}
    others = OtherProcesses()
    figures: dict[str, dict[str, list[float]]] = {}
    with ExitStack() as stack:
        served = {name: stack.enter_context(_calls(where)) for name, where in checkouts.items()}
        for _ in range(flags.rounds):
            for kind in KINDS:
                for name, calls in served.items():
                    us = _cpu_us(*calls[kind], flags.calls)
                    figures.setdefault(kind, {}).setdefault(name, []).append(us)
    medians: dict[str, dict[str, int]] = {
        kind: {name: round(statistics.median(found)) for name, found in of.items()}
        for kind, of in figures.items()
    }
    if flags.before is not None:
        for kind, of in figures.items():
            pairs = zip(of["before"], of["after"], strict=True)
            medians[kind]["change_percent"] = round(
                100 * statistics.median(after / before - 1 for before, after in pairs)
            )
    report = {
        "cpu_us": medians,
        "rounds": {
            kind: {name: [round(us) for us in all_us] for name, all_us in of.items()}
            for kind, of in figures.items()
        },
        "other_cores": round(others.cores(), 2),
        "machine": describe(("grpcio", "protobuf", "prometheus-client", "structlog")),
    }
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "call_cost.json").write_text(json.dumps(report, indent=1) + "\n")
    for kind, found in medians.items():
        print(f"{kind:28} {'  '.join(f'{name} {figure}' for name, figure in found.items())}")
    print(f"other cores {report['other_cores']}; {OUT / 'call_cost.json'}")


@contextmanager
def _calls(checkout: Path) -> Iterator[dict[str, tuple[Program, Callable[[], None]]]]:
    """The services of a checkout; for each kind of call whose CPU time it costs, and what makes it."""
    folder = OUT / "call_cost"
    python = environment(PYTHONPATH=str(checkout))
    toy = {"TOY_MAX_CONCURRENT_RPCS": "1", "TOY_REFLECTION": "true", "TOY_METRICS_PORT": "0"}
    encoder = {
        "ENCODER_MODEL": str(STARTER),
        "ENCODER_MAX_BATCH": "8",
        "ENCODER_MAX_BATCH_TOKENS": "1024",
        "ENCODER_METRICS_PORT": "0",
    }
    with ExitStack() as stack:

        def start(name: str, command: list[str], settings: dict[str, str]) -> tuple[Program, grpc.Channel]:
            program = stack.enter_context(
                Program(name, folder, command, settings, prefix=name.upper(), bare=python, cwd=checkout)
            )
            options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
            return program, stack.enter_context(grpc.insecure_channel(program.address, options))

        idle, to_idle = start("toy", [sys.executable, "-c", TOY], toy)
        full, to_full = start("toy", [sys.executable, "-c", TOY], toy)
        # Holds the only place until the end.
        held = encoder_pb2_grpc.EncoderServiceStub(to_full).Classify.future(pb.ClassifyRequest())
        stack.callback(held.cancel)
        ours, to_encoder = start("encoder", [sys.executable, "-m", "encoder_service"], encoder)
        yield _of_kinds(
            (idle, encoder_pb2_grpc.EncoderServiceStub(to_idle)),
            (full, encoder_pb2_grpc.EncoderServiceStub(to_full)),
            (ours, encoder_pb2_grpc.EncoderServiceStub(to_encoder)),
        )


def _of_kinds(
    idle: tuple[Program, Any], full: tuple[Program, Any], encoder: tuple[Program, Any]
) -> dict[str, tuple[Program, Callable[[], None]]]:
    nothing, image = pb.GetModelRequest(), pb.EncodeImageRequest(images=[bytes(BODY)])
    text = pb.EncodeTextRequest(texts=["a red bicycle by the sea"], format=VECTOR_FORMAT_F32_BYTES)

    def refused(method: Any, request: Any) -> None:
        try:
            method(request, timeout=10)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                return
            raise
        raise RuntimeError("a call was answered that should have been refused")

    calls = (
        (idle[0], lambda: idle[1].GetModel(nothing, timeout=10)),
        (full[0], lambda: refused(full[1].GetModel, nothing)),
        (full[0], lambda: refused(full[1].EncodeImage, image)),
        (encoder[0], lambda: encoder[1].GetModel(nothing, timeout=10)),
        (encoder[0], lambda: encoder[1].EncodeText(text, timeout=10)),
    )
    return dict(zip(KINDS, calls, strict=True))


def _cpu_us(process: Program, send: Callable[[], None], calls: int) -> float:
    """Microseconds of the process's CPU time a call, without what it uses when nobody calls."""
    for _ in range(WARM):
        send()
    before = _cpu_ns(process)
    for _ in range(calls):
        send()
    return (_cpu_ns(process) - before) / 1000 / calls


def _cpu_ns(process: Program) -> int:
    """CPU time of all threads that live, by the scheduler's count: /proc/PID/stat has ticks of 10 ms."""
    return sum(
        int(path.read_text().split()[0]) for path in Path(f"/proc/{process.pid}/task").glob("*/schedstat")
    )


if __name__ == "__main__":
    main()
