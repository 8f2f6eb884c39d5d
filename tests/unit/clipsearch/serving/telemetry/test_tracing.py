"""Traces, received by a collector that stands for the operator's."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from clipsearch.encoder.v1 import encoder_pb2
from clipsearch.serving.calls import CallInterceptor
from clipsearch.serving.current_call import name_call
from clipsearch.serving.errors import InvalidArgument, Unavailable
from clipsearch.serving.service import StartError
from clipsearch.serving.telemetry.tracing import tracing
from tests.ports import OWN_PORT
from tests.unit.clipsearch.serving.served import call, running

ENCODE = "/clipsearch.encoder.v1.EncoderService/EncodeText"


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.services: set[str] = set()

    def Export(self, request, context):
        for resource in request.resource_spans:
            attributes = {item.key: item.value.string_value for item in resource.resource.attributes}
            self.services.add(attributes["service.name"])
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture
def collector():
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(1), options=OWN_PORT)
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    collector.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield collector
    server.stop(None)


async def traced(collector: Collector, answer=None, **options) -> dict:
    """One traced call; what its handler's log knew."""
    logged: dict = {}

    async def handler(request, context):
        logged.update(name_call(None, "", {}))
        if answer is not None:
            await answer(request, context)

    with tracing(collector.endpoint, "encoder") as traces:
        async with (
            running(CallInterceptor(trace_id=traces.trace_id), outside=traces.server) as server,
            grpc.aio.insecure_channel(server.address, interceptors=traces.client) as channel,
        ):
            server.answers[ENCODE] = handler
            request = encoder_pb2.EncodeTextRequest(texts=["a very private query"])
            try:
                await call(channel, ENCODE, request, token="cs_very_secret", **options)
            except grpc.aio.AioRpcError as error:
                logged["error"] = error
    return logged


async def test_client_and_server_share_a_trace_that_the_log_names_too(collector):
    logged = await traced(collector)
    by_kind = {span.kind: span for span in collector.spans}
    client, server = by_kind[Span.SPAN_KIND_CLIENT], by_kind[Span.SPAN_KIND_SERVER]
    assert client.trace_id == server.trace_id
    assert server.parent_span_id == client.span_id
    assert logged["trace_id"] == server.trace_id.hex()
    assert collector.services == {"clipsearch-encoder"}
    assert len(collector.spans) == 2
    for span in collector.spans:
        assert "private" not in str(span)
        assert "secret" not in str(span)


@pytest.mark.parametrize(
    ("error", "code", "is_fault"),
    [
        (Unavailable("store", "the store cannot be reached"), grpc.StatusCode.UNAVAILABLE, True),
        (InvalidArgument("texts", "257 given"), grpc.StatusCode.INVALID_ARGUMENT, False),
    ],
)
async def test_a_failure_is_in_the_trace_and_a_fault_only_if_the_servers(collector, error, code, is_fault):
    async def fails(request, context):
        raise error

    logged = await traced(collector, fails)
    assert logged["error"].code() is code
    server = next(span for span in collector.spans if span.kind == Span.SPAN_KIND_SERVER)
    attributes = {item.key: item.value.int_value for item in server.attributes}
    assert attributes["rpc.grpc.status_code"] == code.value[0]
    assert ("the store cannot be reached" in server.status.message) is is_fault


async def test_health_and_reflection_go_on_untraced(collector):
    with tracing(collector.endpoint, "encoder") as traces:
        async with running(outside=traces.server) as server:
            watch = health_pb2_grpc.HealthStub(server.channel).Watch(health_pb2.HealthCheckRequest())
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
            watch.cancel()
    assert collector.spans == []


def test_without_an_endpoint_nothing_is_traced():
    with tracing(None, "encoder") as traces:
        assert (traces.server, traces.client, traces.trace_id()) == ((), (), None)


def test_without_the_extra_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    with pytest.raises(StartError, match=r"clipsearch\[otel\]"), tracing("http://x:1", "encoder"):
        pass
