"""What a PromQL query asks for: metrics, and the labels that it compares or groups by."""

from __future__ import annotations

import re
from dataclasses import dataclass

import promql_parser

# Grafana puts these in.
_GRAFANA = {"$__rate_interval": "5m"}


@dataclass(frozen=True)
class Asked:
    """Names of samples, as Prometheus stores them, and names of labels."""

    metrics: frozenset[str]
    labels: frozenset[str]


def ask(query: str) -> Asked:
    """Parses a query. Raises ValueError where Prometheus would refuse it."""
    for variable, value in _GRAFANA.items():
        query = query.replace(variable, value)
    if unknown := re.findall(r"\$\w+", query):
        raise ValueError(f"unknown variables {unknown}")
    metrics: set[str] = set()
    labels: set[str] = set()

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.MatrixSelector):
            visit(node.vector_selector)
        if isinstance(node, promql_parser.VectorSelector):
            metrics.add(node.name)
            labels.update(matcher.name for matcher in node.matchers.matchers)
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            labels.update(node.modifier.labels)

    promql_parser.walk(promql_parser.parse(query), visit)
    return Asked(frozenset(metrics), frozenset(labels))
