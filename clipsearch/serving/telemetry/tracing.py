"""OpenTelemetry traces over OTLP: off unless an endpoint is set, and only then imported (extra `otel`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc

from clipsearch.serving.service import StartError

# Health and reflection make no traces: the instrumentation takes no servicer that streams by `context.write`.
_OURS = "/clipsearch."
# Also how long a collector that is gone can hold up the end of the process (the default is 10 s).
_EXPORT_TIMEOUT_S = 2


@dataclass(frozen=True, slots=True)
class Tracing:
    """What traces the calls that come in and those that go out.

    `trace_id` is that of the current span.
    """

    server: Sequence[grpc.aio.ServerInterceptor] = ()
    client: Sequence[grpc.aio.ClientInterceptor] = ()
    trace_id: Callable[[], str | None] = lambda: None


@contextmanager
def tracing(endpoint: str | None, service: str) -> Iterator[Tracing]:
    """Sends spans to the collector at `endpoint` until the block ends; http:// is plaintext, https:// TLS.

    Spans hold methods, status codes and our error messages, never requests. None = no tracing.
    Raises StartError.
    """
    if endpoint is None:
        yield Tracing()
        return
    if not endpoint.startswith(("http://", "https://")):
        raise StartError(f"the OTLP endpoint must start with http:// or https://, it is {endpoint!r}")
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.instrumentation import grpc as grpc_instrumentation
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise StartError(f"traces need `pip install 'clipsearch[otel]'` ({error.name} is missing)") from None

    def ours(details: grpc.HandlerCallDetails | grpc.aio.ClientCallDetails) -> bool:
        method = details.method.decode() if isinstance(details.method, bytes) else details.method
        return method.startswith(_OURS)

    def trace_id() -> str | None:
        context = trace.get_current_span().get_span_context()
        return f"{context.trace_id:032x}" if context.is_valid else None

    instrumentation: Any = grpc_instrumentation  # has no types
    provider = TracerProvider(resource=Resource.create({"service.name": f"clipsearch-{service}"}))
    provider.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, timeout=_EXPORT_TIMEOUT_S))
    )
    try:
        yield Tracing(
            server=[instrumentation.aio_server_interceptor(tracer_provider=provider, filter_=ours)],
            client=instrumentation.aio_client_interceptors(tracer_provider=provider, filter_=ours),
            trace_id=trace_id,
        )
    finally:
        provider.shutdown()
