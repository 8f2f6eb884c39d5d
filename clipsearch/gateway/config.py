"""Envoy's configuration, as plain data.

https://www.envoyproxy.io/docs names the fields. What is set here beside routes and addresses is what its page
on proxies at the edge asks for: nothing of a caller is trusted, and everything has a bound.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.rpc import error_details_pb2

from clipsearch.channel.credentials import ClientTls
from clipsearch.encoder.v1 import encoder_pb2, openai_pb2
from clipsearch.gateway import tls
from clipsearch.gateway.fields import TYPES, Json, typed
from clipsearch.gateway.reasons import GATEWAY_REASONS, OTHER, GatewayReason
from clipsearch.gateway.settings import GatewaySettings
from clipsearch.search.v1 import collection_pb2, search_pb2

_API = (encoder_pb2.DESCRIPTOR, openai_pb2.DESCRIPTOR, search_pb2.DESCRIPTOR, collection_pb2.DESCRIPTOR)

MIB = 1024 * 1024
_FOLDER = Path(__file__).parent
_HEAP = "envoy.resource_monitors.fixed_heap"
# Of gRPC and gRPC-web.
_GRPC = {"name": "content-type", "string_match": {"prefix": "application/grpc"}}
# The route of JSON until it is gRPC: other origins are let in only where there is a route to a cluster.
_NOWHERE = {
    "match": {"prefix": "/"},
    "route": {"cluster": "nowhere", "cluster_not_found_response_code": "NOT_FOUND"},
}
# Whether a search service is of use: its overall health needs the encoder too, and most calls do not.
_COLLECTIONS = {"service_name": "clipsearch.search.v1.CollectionService"}
_HTTP2 = {"initial_stream_window_size": 65_536, "initial_connection_window_size": MIB}
_PAGES = {
    "/": ("page/index.html", "text/html; charset=utf-8"),
    "/page.css": ("page/page.css", "text/css; charset=utf-8"),
    "/page.js": ("page/page.js", "text/javascript; charset=utf-8"),
    "/openapi.json": ("openapi.json", "application/json"),
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# For pages of other sites, where they are let in.
_ASKED = "authorization,content-type,grpc-timeout,x-grpc-web,x-request-id,x-user-agent"
_SHOWN = "grpc-message,grpc-status,grpc-status-details-bin,retry-after,x-request-id"


def files(settings: GatewaySettings, folder: Path, admin: Path) -> dict[str, Json]:
    """What Envoy reads, as JSON files of `folder`: `envoy.json` and those that it names.

    `admin` is the socket of Envoy's administration, for this process alone. Raises CredentialsError where TLS
    needs files that are not there.
    """
    upstream = settings.upstream_tls
    admin_address = {"pipe": {"path": str(admin)}}
    envoy = {
        "node": {"id": "gateway", "cluster": "clipsearch"},
        "admin": {"address": {"pipe": {"path": str(admin), "mode": 0o600}}},
        "static_resources": {
            "listeners": [_listener(settings, folder), *_metrics_listener(settings)],
            "clusters": [
                _cluster("encoder", settings.encoders, {}, upstream, folder),
                _cluster("search", settings.servers, _COLLECTIONS, upstream, folder),
                {"name": "admin", "type": "STATIC", "load_assignment": _endpoints("admin", [admin_address])},
            ],
        },
        "overload_manager": _overload(settings),
    }
    return {"envoy.json": envoy, **tls.secrets(settings)}


def _listener(settings: GatewaySettings, folder: Path) -> Json:
    return {
        "name": "gateway",
        "address": _address(settings.host, settings.port),
        "enable_reuse_port": False,  # two gateways would share the port in silence
        "per_connection_buffer_limit_bytes": MIB,
        "filter_chains": [{"filters": [_http(settings)], **tls.from_callers(settings, folder)}],
    }


def _http(settings: GatewaySettings) -> Json:
    return typed(
        "envoy.filters.network.http_connection_manager",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="gateway",
        use_remote_address=True,
        server_header_transformation="PASS_THROUGH",
        preserve_external_request_id=True,
        always_set_request_id_in_response=True,
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action="REJECT_REQUEST",
        max_request_headers_kb=32,
        common_http_protocol_options={
            "idle_timeout": "600s",
            "max_headers_count": 100,
            "headers_with_underscores_action": "REJECT_REQUEST",
        },
        http2_protocol_options={**_HTTP2, "max_concurrent_streams": 256},
        request_headers_timeout="10s",
        request_timeout="300s",
        local_reply_config=_local_replies(),
        http_filters=_filters(settings),
        route_config=_routes(settings),
    )


def _filters(settings: GatewaySettings) -> list[Json]:
    origins = "".join(f"[{json.dumps(origin)}]=true," for origin in settings.origins)
    lua = f"local ORIGINS = {{{origins}}}\n{(_FOLDER / 'http.lua').read_text(encoding='utf-8')}"
    return [
        _filter(
            "health_check",
            "HealthCheck",
            pass_through_mode=False,
            headers=[{"name": ":path", "string_match": {"exact": "/healthz"}}],
            # Without an encoder, collections and points are served still.
            cluster_min_healthy_percentages={"search": {"value": 1}},
        ),
        _filter("cors", "Cors"),
        _filter("buffer", "Buffer", max_request_bytes=settings.max_body_mb * MIB),
        _filter("lua", "Lua", default_source_code={"inline_string": lua}),
        _filter("grpc_web", "GrpcWeb"),
        _filter("grpc_json_transcoder", "GrpcJsonTranscoder", **_transcoding(settings)),
        _filter("router", "Router", suppress_envoy_headers=True),
    ]


def _transcoding(settings: GatewaySettings) -> Json:
    found = FileDescriptorSet()

    def collect(file: FileDescriptor) -> None:
        if file.name not in {known.name for known in found.file}:
            for imported in file.dependencies:
                collect(imported)
            file.CopyToProto(found.file.add())

    for file in (*_API, error_details_pb2.DESCRIPTOR):
        collect(file)
    return {
        "proto_descriptor_bin": base64.b64encode(found.SerializeToString()).decode(),
        "services": [service.full_name for file in _API for service in file.services_by_name.values()],
        "convert_grpc_status": True,
        # Names as the protos and the fields of errors have them; 0 and false are answers too.
        "print_options": {"preserve_proto_field_names": True, "always_print_primitive_fields": True},
        "request_validation_options": {
            "reject_unknown_query_parameters": True,
            "reject_binding_body_field_collisions": True,
        },
        "max_request_body_size": settings.max_body_mb * MIB,
        "max_response_body_size": settings.max_body_mb * MIB,
    }


def _routes(settings: GatewaySettings) -> Json:
    """A call goes to its service by its gRPC path, which the transcoder has put in place of a JSON one."""
    to_services = [
        {
            "match": {"prefix": prefix, "headers": [_GRPC]},
            "route": {
                "cluster": cluster,
                "timeout": "0s",
                # The services hold a call to its deadline; this ends what not even they do.
                "max_stream_duration": {"max_stream_duration": "3600s", "grpc_timeout_header_max": "0s"},
                "retry_policy": {"retry_on": "connect-failure,refused-stream", "num_retries": 2},
            },
            # What comes as gRPC may be a stream, and is no JSON.
            "typed_per_filter_config": {
                "envoy.filters.http.buffer": {
                    "@type": f"{TYPES}filters.http.buffer.v3.BufferPerRoute",
                    "disabled": True,
                }
            },
        }
        for prefix, cluster in (
            ("/clipsearch.encoder.", "encoder"),
            ("/clipsearch.search.", "search"),
            ("/grpc.", "search"),  # health and reflection: a search service knows the encoder's protos too
        )
    ]
    pages = [_page(path, name, kind) for path, (name, kind) in _PAGES.items()]
    # A name of ours that another site's page has its visitors look up must not lead here.
    local = ["localhost", "127.0.0.1", "[::1]", settings.host] if settings.local else []
    domains = {*settings.hosts, *local} or {"*"}
    host = {
        "name": "gateway",
        "domains": sorted(domains),
        "routes": [*to_services, *pages, _NOWHERE],
        "typed_per_filter_config": {
            "envoy.filters.http.cors": {
                "@type": f"{TYPES}filters.http.cors.v3.CorsPolicy",
                "allow_origin_string_match": [{"exact": origin} for origin in settings.origins],
                "allow_methods": "GET,PUT,PATCH,POST,DELETE",
                "allow_headers": _ASKED,
                "expose_headers": _SHOWN,
                "max_age": "600",
            }
        },
    }
    return {
        "virtual_hosts": [host],
        "validate_clusters": False,
        "ignore_port_in_host_matching": True,
        "max_direct_response_body_size_bytes": MIB,
    }


def _page(path: str, name: str, kind: str) -> Json:
    """A file of this package, as it is."""
    headers = {"content-type": kind, "content-security-policy": _POLICY, "x-content-type-options": "nosniff"}
    return {
        "match": {"path": path},
        "direct_response": {"status": 200, "body": {"filename": str(_FOLDER / name)}},
        "response_headers_to_add": [_header(key, value) for key, value in headers.items()],
    }


def _header(key: str, value: str) -> Json:
    return {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _local_replies() -> Json:
    """Envoy's own errors, in the shape that `http.lua` gives to those of the services."""
    mappers = [_mapper("EQ", status, reason) for status, reason in GATEWAY_REASONS.items()]
    # Envoy's 500 means that it is out of memory: trying again later helps.
    full = {
        **_mapper("EQ", 500, GATEWAY_REASONS[503]),
        "status_code": 503,
        "body": {"inline_string": "the gateway holds as many bytes as it takes"},
    }
    return {"mappers": [*mappers, full, _mapper("GE", 400, OTHER)]}


def _mapper(comparison: str, status: int, reason: GatewayReason) -> Json:
    value = {"default_value": status, "runtime_key": "gateway.none"}
    said = {"body": {"inline_string": reason.meaning}} if status == 404 else {}  # Envoy says nothing of it
    error: Json = {
        "type": "gateway_error",
        "code": reason.reason,
        "param": None,
        "request_id": "%REQ(X-REQUEST-ID)%",
        "message": "%LOCAL_REPLY_BODY%",
        "details": [],
    }
    return {
        "filter": {"status_code_filter": {"comparison": {"op": comparison, "value": value}}},
        "body_format_override": {"json_format": {"error": error}},
        **said,
        **({"headers_to_add": [_header("retry-after", "1")]} if reason is GATEWAY_REASONS[503] else {}),
    }


def _cluster(
    name: str, addresses: tuple[str, ...], health: Json, shown: ClientTls | None, folder: Path
) -> Json:
    hosts = [address.rpartition(":")[::2] for address in addresses]
    return {
        "name": name,
        # Asked again and again: a name of many addresses is many replicas.
        "cluster_type": typed(
            "envoy.clusters.dns", "clusters.dns.v3.DnsCluster", dns_refresh_rate="5s", dns_lookup_family="ALL"
        ),
        "lb_policy": "ROUND_ROBIN",
        "connect_timeout": "5s",
        "per_connection_buffer_limit_bytes": MIB,
        "load_assignment": _endpoints(name, [_address(host, int(port)) for host, port in hosts]),
        "health_checks": [
            {
                "timeout": "2s",
                "interval": "2s",
                "no_traffic_interval": "2s",
                "unhealthy_interval": "1s",
                "unhealthy_threshold": 2,
                "healthy_threshold": 1,
                "grpc_health_check": health,
            }
        ],
        # A replica that drains gets no calls, also where it is the last one.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "circuit_breakers": {
            "thresholds": [{"max_requests": 4096, "max_pending_requests": 4096, "max_retries": 64}]
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{TYPES}upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": _HTTP2},
            }
        },
        **tls.to_services(shown, [host for host, _ in hosts], folder),
    }


def _metrics_listener(settings: GatewaySettings) -> list[Json]:
    """Prometheus metrics at /metrics, and nothing else of Envoy's administration."""
    if settings.metrics_port is None:
        return []
    route = {
        "match": {"path": "/metrics"},
        "route": {"cluster": "admin", "prefix_rewrite": "/stats/prometheus?usedonly"},
    }
    manager = typed(
        "envoy.filters.network.http_connection_manager",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="metrics",
        http_filters=[_filter("router", "Router")],
        route_config={"virtual_hosts": [{"name": "metrics", "domains": ["*"], "routes": [route]}]},
    )
    return [
        {
            "name": "metrics",
            "address": _address(settings.host, settings.metrics_port),
            "enable_reuse_port": False,
            "filter_chains": [{"filters": [manager]}],
        }
    ]


def _overload(settings: GatewaySettings) -> Json:
    return {
        "refresh_interval": "0.05s",
        "resource_monitors": [
            typed(
                _HEAP,
                "resource_monitors.fixed_heap.v3.FixedHeapConfig",
                max_heap_size_bytes=settings.memory_mb * MIB,
            ),
            typed(
                "envoy.resource_monitors.global_downstream_max_connections",
                "resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                max_active_downstream_connections=settings.max_connections,
            ),
        ],
        "actions": [
            _when_full("overload_actions.shrink_heap", 0.7),
            _when_full("overload_actions.stop_accepting_requests", 0.8),
        ],
        # Those that are under way when it is past that end too.
        "loadshed_points": [
            _when_full("load_shed_points.http1_server_abort_dispatch", 0.9),
            _when_full("load_shed_points.http2_server_go_away_and_close_on_dispatch", 0.98),
        ],
    }


def _when_full(name: str, share: float) -> Json:
    return {"name": f"envoy.{name}", "triggers": [{"name": _HEAP, "threshold": {"value": share}}]}


def _endpoints(cluster: str, addresses: list[Json]) -> Json:
    endpoints = [{"endpoint": {"address": address}} for address in addresses]
    return {"cluster_name": cluster, "endpoints": [{"lb_endpoints": endpoints}]}


def _address(host: str, port: int) -> Json:
    return {"socket_address": {"address": host.strip("[]"), "port_value": port}}


def _filter(name: str, kind: str, **fields: Any) -> Json:
    return typed(f"envoy.filters.http.{name}", f"filters.http.{name}.v3.{kind}", **fields)
