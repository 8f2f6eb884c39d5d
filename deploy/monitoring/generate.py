"""Writes what is made from code: Grafana's dashboards, and the alerts as a PrometheusRule.

    python deploy/monitoring/generate.py

`make deploy-check` fails where the files are not what this writes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
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
    """A panel: its title, the labels that it has a series for, its query, its unit and its kind.

    In the query BY stands for the labels. Of several queries each says what its series are called: a name
    behind the labels, or a whole legend.
    """

    title: str
    by: str
    query: str | dict[str, str]
    unit: str = "short"
    width: int = 8
    kind: str = "timeseries"  # or `stat` or `table`

    def targets(self) -> list[tuple[str, str]]:
        """Legend and query of each."""
        queries = self.query if isinstance(self.query, dict) else {"": self.query}
        labels = " ".join(
            f"{{{{{label}}}}}" for label in self.by.split(", ") if self.kind != "table" and label
        )
        return [
            (name if "{{" in name else f"{labels} {name}".strip() or "__auto", query.replace("BY", self.by))
            for name, query in queries.items()
        ]


def of(metric: str, where: str = "") -> str:
    """Our metric in the namespaces that are chosen; compose has none, and all are chosen."""
    return f"{metric}{{{', '.join(filter(None, [_OURS, where]))}}}"


def over(aggregation: str, metric: str, where: str = "") -> str:
    """A gauge: its `sum`, `max`, `min` or `count`."""
    return f"{aggregation} by (BY) ({of(metric, where)})"


def rate(metric: str, where: str = "") -> str:
    """Events a second."""
    return f"sum by (BY) (rate({of(metric, where)}[$__rate_interval]))"


def quantile(q: float, histogram: str, where: str = "") -> str:
    """A quantile of a histogram."""
    buckets = rate(f"{histogram}_bucket", where).replace("BY", "BY, le")
    return f"histogram_quantile({q}, {buckets})"


def mean(histogram: str) -> str:
    """The mean of a histogram's observations."""
    return f"{rate(f'{histogram}_sum')} / {rate(f'{histogram}_count')}"


_FAILURES = 'grpc_code=~"INTERNAL|UNKNOWN|UNAVAILABLE|DATA_LOSS|DEADLINE_EXCEEDED"'
_REFUSALS = 'grpc_code="RESOURCE_EXHAUSTED"'
_CALLS = "grpc_server_handled_total"
_SECONDS = "grpc_server_handling_seconds"
_POINTS = f"sum(max by (namespace, collection) ({of('clipsearch_collection_points')}))"
_HITS, _MISSES = (
    f"sum(rate({of(f'clipsearch_encoder_text_cache_{which}_total')}[$__rate_interval]))"
    for which in ("hits", "misses")
)
_WAIT = "clipsearch_search_dependency_seconds"
_QUEUE = "clipsearch_encoder_queue_seconds"
_MODEL = "namespace, job, name, fingerprint, image_precision, text_precision, provider, pretrained"
_DEPENDENCY_FAILED = 'job="search", reason=~"ENCODER_.*|STORE_.*"'

OVERVIEW = [
    Panel(
        "Ready replicas", "job", over("sum", "clipsearch_ready", 'grpc_service="overall"'), "short", 6, "stat"
    ),
    Panel("Failed calls", "job", f"{rate(_CALLS, _FAILURES)} / {rate(_CALLS)}", "percentunit", 6, "stat"),
    Panel(
        "Refused under load", "job", f"{rate(_CALLS, _REFUSALS)} / {rate(_CALLS)}", "percentunit", 6, "stat"
    ),
    Panel("Points", "", {"points": _POINTS}, "short", 6, "stat"),
    Panel("Calls", "job, grpc_method", rate(_CALLS), "reqps"),
    Panel("Latency, p50", "job, grpc_method", quantile(0.5, _SECONDS), "s"),
    Panel("Latency, p99", "job, grpc_method", quantile(0.99, _SECONDS), "s"),
    Panel("Status codes", "job, grpc_code", rate(_CALLS), "reqps"),
    Panel("Errors by reason", "grpc_method, reason", rate("clipsearch_errors_total"), "reqps"),
    Panel("Calls in progress", "job", over("sum", "grpc_server_in_flight")),
    Panel(
        "Event loop: latest of the last minute",
        "job, instance",
        over("max", "clipsearch_event_loop_lag_max_seconds"),
        "s",
    ),
    Panel("CPU", "job, instance", rate("process_cpu_seconds_total"), "cores"),
    Panel("Memory", "job, instance", over("max", "process_resident_memory_bytes"), "bytes"),
    Panel("Versions", "job, version, python, grpc", over("count", "clipsearch_build_info"), kind="table"),
]

ENCODER = [
    Panel("Models that run", _MODEL, over("count", "clipsearch_encoder_model_info"), "short", 24, "table"),
    Panel("Inputs", "tower", rate("clipsearch_encoder_batch_items_sum"), "cps"),
    Panel("Waiting for the session", "tower", over("sum", "clipsearch_encoder_queue_items")),
    Panel(
        "Wait for the session", "tower", {"p50": quantile(0.5, _QUEUE), "p99": quantile(0.99, _QUEUE)}, "s"
    ),
    Panel("Inputs a batch", "tower", mean("clipsearch_encoder_batch_items")),
    Panel("Seconds a batch in ONNX Runtime", "tower", mean("clipsearch_encoder_infer_seconds"), "s"),
    Panel("Seconds to decode or tokenise", "tower", mean("clipsearch_encoder_preprocess_seconds"), "s"),
    Panel("Accepted and not answered", "tower", over("sum", "clipsearch_encoder_admitted_items")),
    Panel("Bytes of them", "tower", over("sum", "clipsearch_encoder_admitted_bytes"), "bytes"),
    Panel("Texts found in the cache", "", {"share": f"{_HITS} / ({_HITS} + {_MISSES})"}, "percentunit"),
    Panel("Memory of the cache", "instance", over("max", "clipsearch_encoder_text_cache_bytes"), "bytes"),
]

SEARCH = [
    Panel("Wait for encoder and store, p50", "dependency, operation", quantile(0.5, _WAIT), "s", 12),
    Panel("Wait for encoder and store, p99", "dependency, operation", quantile(0.99, _WAIT), "s", 12),
    Panel("Questions to encoder and store", "dependency, operation", rate(f"{_WAIT}_count"), "reqps"),
    Panel("Points", "collection", over("max", "clipsearch_collection_points")),
    Panel("Encoder or store failed", "reason", rate("clipsearch_errors_total", _DEPENDENCY_FAILED), "reqps"),
    Panel("Services that are ready", "grpc_service", over("sum", "clipsearch_ready", 'job="search"')),
    Panel("Qdrant: peers that each node sees", "instance", over("min", "cluster_peers_total")),
    Panel("Qdrant: memory", "instance", over("max", "memory_resident_bytes"), "bytes"),
]

_AT_THE_DOOR = 'envoy_http_conn_manager_prefix="gateway"'
_SERVICE = 'envoy_cluster_name=~"encoder|search"'
_HEAP = "envoy_overload_envoy_resource_monitors_fixed_heap_pressure"
_LATENCY = {
    f"p{round(100 * q)}": quantile(q, "envoy_http_downstream_rq_time", _AT_THE_DOOR).replace(
        "BY", "namespace"
    )
    for q in (0.5, 0.99)
}
_CLASS = "envoy_response_code_class"

GATEWAY = [
    Panel(
        "Answers by status",
        _CLASS,
        {f"{{{{{_CLASS}}}}}xx": rate("envoy_http_downstream_rq_xx", _AT_THE_DOOR)},
        "reqps",
    ),
    Panel("Latency", "", _LATENCY, "ms"),
    Panel(
        "Latency of the services, p99",
        "envoy_cluster_name",
        quantile(0.99, "envoy_cluster_upstream_rq_time", _SERVICE),
        "ms",
    ),
    Panel(
        "Replicas that are ready",
        "instance, envoy_cluster_name",
        over("min", "envoy_cluster_membership_healthy", _SERVICE),
    ),
    Panel("Connections", "instance", over("sum", "envoy_http_downstream_cx_active", _AT_THE_DOOR)),
    Panel("Memory, percent of what it may take", "instance", over("max", _HEAP), "percent"),
]

DASHBOARDS = {"overview": OVERVIEW, "encoder": ENCODER, "search": SEARCH, "gateway": GATEWAY}


def dashboard(name: str, panels: list[Panel]) -> dict[str, Any]:
    """A dashboard as Grafana imports and provisions it."""
    placed, x, y = [], 0, 0
    for number, panel in enumerate(panels, start=1):
        if x + panel.width > WIDTH:
            x, y = 0, y + HEIGHT
        placed.append(_panel(number, panel, x, y))
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
                {
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
                },
            ]
        },
        "links": [{"type": "dashboards", "title": "clipsearch", "tags": ["clipsearch"], "asDropdown": True}],
        "panels": placed,
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
                "legendFormat": legend,
                **({"instant": True, "format": "table"} if table else {}),
            }
            for index, (legend, query) in enumerate(panel.targets())
        ],
    }


def files() -> dict[Path, str]:
    """Path -> content of everything that is generated."""
    made = {
        HERE / "dashboards" / f"clipsearch-{name}.json": json.dumps(dashboard(name, panels), indent=2) + "\n"
        for name, panels in DASHBOARDS.items()
    }
    rule = {  # the alerts as the Prometheus Operator takes them
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "clipsearch"},
        "spec": yaml.safe_load((HERE / "alerts.yaml").read_text(encoding="utf-8")),
    }
    text = yaml.safe_dump(rule, sort_keys=False, width=110)
    made[HERE / "prometheus-rule.yaml"] = f"# Made from alerts.yaml by generate.py.\n{text}"
    return made


if __name__ == "__main__":
    for path, content in files().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, encoding="utf-8")
        print(path)
