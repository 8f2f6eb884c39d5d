"""Writes what is made from code: Grafana's dashboards, and the alerts as a PrometheusRule.

    python deploy/monitoring/generate.py

`make deploy-check` fails where the files are not what this writes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
SCHEMA_VERSION = 41  # Grafana 12
WIDTH, HEIGHT = 24, 8
# By job too: others have metrics of names like grpc_server_handled_total and process_cpu_seconds_total.
_OURS = 'namespace=~"$namespace", job=~"encoder|encoder-next|search|gateway|qdrant"'
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True)
class Panel:
    """A panel: its title, its queries by legend, its unit, and `timeseries`, `stat` or `table`."""

    title: str
    queries: dict[str, str]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8


def of(metric: str, where: str = "") -> str:
    """Our metric in the namespaces that are chosen; compose has none, and all are chosen."""
    return f"{metric}{{{', '.join(filter(None, [_OURS, where]))}}}"


def rate(metric: str, by: str, where: str = "") -> str:
    """Events a second."""
    return f"sum by ({by}) (rate({of(metric, where)}[$__rate_interval]))"


def quantile(q: float, histogram: str, by: str, where: str = "") -> str:
    """A quantile of a histogram."""
    buckets = rate(f"{histogram}_bucket", f"{by}, le", where)
    return f"histogram_quantile({q}, {buckets})"


def mean(histogram: str, by: str) -> str:
    """The mean of a histogram's observations."""
    return f"{rate(f'{histogram}_sum', by)} / {rate(f'{histogram}_count', by)}"


_FAILURES = 'grpc_code=~"INTERNAL|UNKNOWN|UNAVAILABLE|DATA_LOSS|DEADLINE_EXCEEDED"'
_REFUSALS = 'grpc_code="RESOURCE_EXHAUSTED"'
_CALLS = "grpc_server_handled_total"
_SECONDS = "grpc_server_handling_seconds"
_READY = f"""sum by (job) ({of("clipsearch_ready", 'grpc_service="overall"')})"""
_POINTS = f"sum(max by (namespace, collection) ({of('clipsearch_collection_points')}))"
_HITS, _MISSES = (
    f"sum(rate({of(f'clipsearch_encoder_text_cache_{which}_total')}[$__rate_interval]))"
    for which in ("hits", "misses")
)
_DEPENDENCY = "clipsearch_search_dependency_seconds"

OVERVIEW = [
    Panel("Ready replicas", {"{{job}}": _READY}, kind="stat", width=6),
    Panel(
        "Failed calls",
        {"{{job}}": f"{rate(_CALLS, 'job', _FAILURES)} / {rate(_CALLS, 'job')}"},
        "percentunit",
        "stat",
        6,
    ),
    Panel(
        "Refused under load",
        {"{{job}}": f"{rate(_CALLS, 'job', _REFUSALS)} / {rate(_CALLS, 'job')}"},
        "percentunit",
        "stat",
        6,
    ),
    Panel("Points", {"points": _POINTS}, kind="stat", width=6),
    Panel("Calls", {"{{job}} {{grpc_method}}": rate(_CALLS, "job, grpc_method")}, "reqps"),
    Panel("Latency, p50", {"{{job}} {{grpc_method}}": quantile(0.5, _SECONDS, "job, grpc_method")}, "s"),
    Panel("Latency, p99", {"{{job}} {{grpc_method}}": quantile(0.99, _SECONDS, "job, grpc_method")}, "s"),
    Panel("Status codes", {"{{job}} {{grpc_code}}": rate(_CALLS, "job, grpc_code")}, "reqps"),
    Panel(
        "Errors by reason",
        {"{{grpc_method}} {{reason}}": rate("clipsearch_errors_total", "grpc_method, reason")},
        "reqps",
    ),
    Panel("Calls in progress", {"{{job}}": f"sum by (job) ({of('grpc_server_in_flight')})"}),
    Panel(
        "Event loop: latest of the last minute",
        {"{{job}} {{instance}}": f"max by (job, instance) ({of('clipsearch_event_loop_lag_max_seconds')})"},
        "s",
    ),
    Panel("CPU", {"{{job}} {{instance}}": rate("process_cpu_seconds_total", "job, instance")}, "cores"),
    Panel(
        "Memory",
        {"{{job}} {{instance}}": f"max by (job, instance) ({of('process_resident_memory_bytes')})"},
        "bytes",
    ),
    Panel(
        "Versions",
        {"": f"count by (job, version, python, grpc) ({of('clipsearch_build_info')})"},
        kind="table",
    ),
]

ENCODER = [
    Panel(
        "Models that run",
        {
            "": "count by (namespace, job, name, fingerprint, image_precision, text_precision, provider, "
            f"pretrained) ({of('clipsearch_encoder_model_info')})"
        },
        kind="table",
        width=24,
    ),
    Panel("Inputs", {"{{tower}}": rate("clipsearch_encoder_batch_items_sum", "tower")}, "cps"),
    Panel(
        "Waiting for the session", {"{{tower}}": f"sum by (tower) ({of('clipsearch_encoder_queue_items')})"}
    ),
    Panel(
        "Wait for the session",
        {
            "{{tower}} p50": quantile(0.5, "clipsearch_encoder_queue_seconds", "tower"),
            "{{tower}} p99": quantile(0.99, "clipsearch_encoder_queue_seconds", "tower"),
        },
        "s",
    ),
    Panel("Inputs a batch", {"{{tower}}": mean("clipsearch_encoder_batch_items", "tower")}),
    Panel(
        "Seconds a batch in ONNX Runtime",
        {"{{tower}}": mean("clipsearch_encoder_infer_seconds", "tower")},
        "s",
    ),
    Panel(
        "Seconds to decode or tokenise",
        {"{{tower}}": mean("clipsearch_encoder_preprocess_seconds", "tower")},
        "s",
    ),
    Panel(
        "Accepted and not answered",
        {"{{tower}}": f"sum by (tower) ({of('clipsearch_encoder_admitted_items')})"},
    ),
    Panel(
        "Bytes of them", {"{{tower}}": f"sum by (tower) ({of('clipsearch_encoder_admitted_bytes')})"}, "bytes"
    ),
    Panel(
        "Texts found in the cache",
        {"share": f"{_HITS} / ({_HITS} + {_MISSES})"},
        "percentunit",
    ),
    Panel(
        "Memory of the cache",
        {"{{instance}}": f"max by (instance) ({of('clipsearch_encoder_text_cache_bytes')})"},
        "bytes",
    ),
]

SEARCH = [
    Panel(
        "Wait for encoder and store, p50",
        {"{{dependency}} {{operation}}": quantile(0.5, _DEPENDENCY, "dependency, operation")},
        "s",
        width=12,
    ),
    Panel(
        "Wait for encoder and store, p99",
        {"{{dependency}} {{operation}}": quantile(0.99, _DEPENDENCY, "dependency, operation")},
        "s",
        width=12,
    ),
    Panel(
        "Questions to encoder and store",
        {"{{dependency}} {{operation}}": rate(f"{_DEPENDENCY}_count", "dependency, operation")},
        "reqps",
    ),
    Panel("Points", {"{{collection}}": f"max by (collection) ({of('clipsearch_collection_points')})"}),
    Panel(
        "Encoder or store failed",
        {
            "{{reason}}": rate(
                "clipsearch_errors_total", "reason", 'job="search", reason=~"ENCODER_.*|STORE_.*"'
            )
        },
        "reqps",
    ),
    Panel(
        "Services that are ready",
        {"{{grpc_service}}": f"""sum by (grpc_service) ({of("clipsearch_ready", 'job="search"')})"""},
    ),
    Panel(
        "Qdrant: peers that each node sees",
        {"{{instance}}": f"min by (instance) ({of('cluster_peers_total')})"},
    ),
    Panel("Qdrant: memory", {"{{instance}}": f"max by (instance) ({of('memory_resident_bytes')})"}, "bytes"),
]

_AT_THE_DOOR = 'envoy_http_conn_manager_prefix="gateway"'
_SERVICE = 'envoy_cluster_name=~"encoder|search"'
_HEALTHY = f"min by (instance, envoy_cluster_name) ({of('envoy_cluster_membership_healthy', _SERVICE)})"
_CONNECTIONS = f"sum by (instance) ({of('envoy_http_downstream_cx_active', _AT_THE_DOOR)})"
_HEAP = f"max by (instance) ({of('envoy_overload_envoy_resource_monitors_fixed_heap_pressure')})"

GATEWAY = [
    Panel(
        "Answers by status",
        {
            "{{envoy_response_code_class}}xx": rate(
                "envoy_http_downstream_rq_xx", "envoy_response_code_class", _AT_THE_DOOR
            )
        },
        "reqps",
    ),
    Panel(
        "Latency",
        {
            f"p{round(100 * q)}": quantile(q, "envoy_http_downstream_rq_time", "namespace", _AT_THE_DOOR)
            for q in (0.5, 0.99)
        },
        "ms",
    ),
    Panel(
        "Latency of the services, p99",
        {
            "{{envoy_cluster_name}}": quantile(
                0.99, "envoy_cluster_upstream_rq_time", "envoy_cluster_name", _SERVICE
            )
        },
        "ms",
    ),
    Panel("Replicas that are ready", {"{{instance}} {{envoy_cluster_name}}": _HEALTHY}),
    Panel("Connections", {"{{instance}}": _CONNECTIONS}),
    Panel("Memory, percent of what it may take", {"{{instance}}": _HEAP}, "percent"),
]

DASHBOARDS = {"overview": OVERVIEW, "encoder": ENCODER, "search": SEARCH, "gateway": GATEWAY}


def dashboard(name: str, panels: list[Panel]) -> dict[str, Any]:
    """A dashboard as Grafana imports and provisions it."""
    placed, x, y = [], 0, 0
    ids = count(1)
    for panel in panels:
        if x + panel.width > WIDTH:
            x, y = 0, y + HEIGHT
        placed.append(_panel(next(ids), panel, x, y))
        x += panel.width
    return {
        "uid": f"clipsearch-{name}",
        "title": f"clipsearch: {name}",
        "tags": ["clipsearch"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
                _namespaces(),
            ]
        },
        "links": [{"type": "dashboards", "title": "clipsearch", "tags": ["clipsearch"], "asDropdown": True}],
        "panels": placed,
    }


def _namespaces() -> dict[str, Any]:
    return {
        "name": "namespace",
        "label": "Namespace",
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": "label_values(clipsearch_ready, namespace)", "refId": "namespace"},
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _panel(number: int, panel: Panel, x: int, y: int) -> dict[str, Any]:
    table = panel.kind == "table"
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "datasource": _SOURCE,
        "gridPos": {"x": x, "y": y, "w": panel.width, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": _SOURCE,
                "expr": query,
                "legendFormat": legend or "__auto",
                **({"instant": True, "format": "table"} if table else {}),
            }
            for index, (legend, query) in enumerate(panel.queries.items())
        ],
    }


def prometheus_rule() -> dict[str, Any]:
    """The alerts as the Prometheus Operator takes them."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "clipsearch"},
        "spec": yaml.safe_load((HERE / "alerts.yaml").read_text(encoding="utf-8")),
    }


def files() -> dict[Path, str]:
    """Path -> content of everything that is generated."""
    made = {
        HERE / "dashboards" / f"clipsearch-{name}.json": json.dumps(dashboard(name, panels), indent=2) + "\n"
        for name, panels in DASHBOARDS.items()
    }
    rule = yaml.safe_dump(prometheus_rule(), sort_keys=False, width=110)
    made[HERE / "prometheus-rule.yaml"] = f"# Made from alerts.yaml by generate.py.\n{rule}"
    return made


if __name__ == "__main__":
    for path, content in files().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, encoding="utf-8")
        print(path)
