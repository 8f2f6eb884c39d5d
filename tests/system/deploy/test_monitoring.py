"""Dashboards, alerts and scrapes against what the services really export."""

from __future__ import annotations

import json
import re
import subprocess

import httpx
import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from clipsearch import Client, ClipSearchError, Point
from tests.processes import GatewayProcess
from tests.system.deploy.manifests import DEPLOY, adapter_metric, build
from tests.waiting import wait_until

MONITORING = DEPLOY / "monitoring"
DASHBOARDS = sorted((MONITORING / "dashboards").glob("*.json"))
RULES = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"]
ALERTS = [rule for group in RULES for rule in group["rules"]]

# Prometheus adds them to what it scrapes; pod and namespace come from the ServiceMonitor.
TARGET_LABELS = {"job", "instance", "pod", "namespace"}
# Prometheus' own, and, by their documentation (none ran here), those of the kubelet, Qdrant, cert-manager and
# kube-state-metrics.
KUBELET = {"kubelet_volume_stats_available_bytes", "kubelet_volume_stats_capacity_bytes"}
QDRANT = {
    f"cluster_{part}" for part in ("commit", "peers_total", "pending_operations_total", "working_state")
}
CERTIFICATE = "certmanager_certificate_expiration_timestamp_seconds"
SCALER = {f"kube_horizontalpodautoscaler_{part}" for part in ("status_desired_replicas", "spec_max_replicas")}
ELSEWHERE = {"up", "memory_resident_bytes", *KUBELET, *QDRANT, CERTIFICATE, *SCALER}
ELSEWHERE_LABELS = {"persistentvolumeclaim", "horizontalpodautoscaler", "name", "state"}


def ask(query: str) -> tuple[set[str], set[str]]:
    """The samples and labels that a query names. Raises ValueError where Prometheus would refuse it."""
    query = query.replace("$__rate_interval", "5m").replace('"$namespace"', '".*"')  # Grafana's
    query = query.replace('"$1"', '"x"')  # label_replace's
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
    return metrics, labels


def queries():
    """Every query that we ship, after where it stands."""
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                yield f"{path.stem}: {panel['title']}", target["expr"]
    for rule in ALERTS:
        yield rule["alert"], rule["expr"]
    adapter = adapter_metric()["metricsQuery"].replace("<<.LabelMatchers>>", 'pod="x"')
    yield "the adapter", adapter.replace("<<.GroupBy>>", "pod")


@pytest.fixture(scope="module")
def exported(service, starter_bundle, tmp_path_factory) -> dict[str, set[str]]:
    """Samples of both services' /metrics, after calls that went well and badly, with their labels."""
    data = tmp_path_factory.mktemp("data")
    encoder = service("encoder", ENCODER_MODEL=str(starter_bundle), ENCODER_METRICS_PORT="0").start()
    told = {"SEARCH_ENCODER": encoder.address, "SEARCH_DATA_DIR": str(data), "SEARCH_METRICS_PORT": "0"}
    search = service("search", **told).start()
    with Client(search.address) as client:
        client.create_collection("shop")
        client.upsert("shop", [Point("mug", text="a red mug")])
        client.search("shop", "something to drink from")
        with pytest.raises(ClipSearchError):
            client.search("nowhere", "a mug")
        flags = ("--encoder", encoder.address, "--server", search.address, "--metrics-port", "0")
        with GatewayProcess(data, *flags) as gateway:
            wait_until(lambda: httpx.get(f"{gateway.url}/healthz").status_code == 200)
            assert httpx.get(f"{gateway.url}/v1/model").status_code == 200
            assert httpx.get(f"{gateway.url}/v1/collections").status_code == 200
            wait_until(
                lambda: "envoy_http_downstream_rq_time_bucket" in gateway.metrics()
            )  # flushed at times
            texts = [encoder.metrics(), search.metrics(), gateway.metrics()]
    samples: dict[str, set[str]] = {}
    for text in texts:
        for family in text_string_to_metric_families(text):
            names = {family.name, f"{family.name}_total"} if family.type == "counter" else {family.name}
            if family.type == "histogram":
                names = {f"{family.name}_{part}" for part in ("bucket", "sum", "count")}
            for name in names:
                samples.setdefault(name, set())
            for sample in family.samples:
                samples.setdefault(sample.name, set()).update(sample.labels)
                if family.type == "counter":  # Envoy's have no _total, but for the parser all have
                    samples[family.name].update(sample.labels)
    return samples


@pytest.mark.slow
def test_queries_parse_and_the_services_export_what_they_ask_for(exported):
    problems = []
    for place, query in queries():
        metrics, labels = ask(query)
        assert metrics, place
        missing = metrics - ELSEWHERE - exported.keys()
        problems.extend(f"{place}: no service exports {metric}" for metric in missing)
        ours = metrics & exported.keys()
        known = TARGET_LABELS | {label for metric in ours for label in exported[metric]}
        if metrics & ELSEWHERE:
            known |= ELSEWHERE_LABELS
        # Labels of a series that these calls did not make.
        if unknown := labels - known - {"collection"}:
            problems.append(f"{place}: no such labels: {sorted(unknown)}")
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_is_one_that_grafana_takes(path):
    board = json.loads(path.read_text())
    panels = board["panels"]
    assert path.stat().st_size < 1_000_000
    assert board["uid"] == path.stem
    assert board["schemaVersion"] >= 39
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert [variable["name"] for variable in board["templating"]["list"]] == ["datasource", "namespace"]
    for panel in panels:
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "${datasource}"
            # By job too: others have metrics of names like grpc_server_handled_total.
            assert {"namespace", "job"} <= ask(target["expr"])[1]


def test_an_alert_says_how_grave_it_is_and_has_the_one_section_of_its_name_in_the_readme():
    for rule in ALERTS:
        assert rule["labels"]["severity"] in ("warning", "critical"), rule["alert"]
        assert rule["annotations"]["summary"], rule["alert"]
        assert rule["annotations"]["runbook_url"].endswith(f"/deploy/README.md#{rule['alert'].lower()}")
        # An aggregation that dropped it would not say which of several installations is meant.
        assert re.findall(r"\bby \((?!namespace\b)", rule["expr"]) == []
    headings = re.findall(r"^#+ (Clipsearch\w+)$", (DEPLOY / "README.md").read_text(), re.MULTILINE)
    assert sorted(headings) == sorted(rule["alert"] for rule in ALERTS)


def test_every_alert_has_a_unit_test():
    cases = yaml.safe_load((MONITORING / "alerts_test.yaml").read_text())["tests"]
    fired = {case["alertname"] for test in cases for case in test["alert_rule_test"] if case["exp_alerts"]}
    assert fired == {rule["alert"] for rule in ALERTS}


def test_the_prometheus_rule_is_scraped_from_the_same_services(built):
    manifests = built("cpu+qdrant+second-encoder+gateway+monitoring")
    monitor = manifests.one("ServiceMonitor", "clipsearch")
    (selector,) = monitor["spec"]["selector"]["matchExpressions"]
    assert selector["operator"] == "In"
    for name in selector["values"]:
        found = manifests.one("Service", name)
        assert found["metadata"]["labels"][selector["key"]] == name
        assert monitor["spec"]["endpoints"][0]["port"] in {port["name"] for port in found["spec"]["ports"]}
    qdrant = manifests.one("ServiceMonitor", "qdrant")["spec"]
    assert qdrant["endpoints"][0]["authorization"]["credentials"]["name"] == "qdrant-api-keys"
    assert manifests.one("PrometheusRule", "clipsearch")["spec"]["groups"] == RULES


def test_the_disk_alert_means_every_volume_of_the_manifests(built):
    (rule,) = [rule for rule in ALERTS if rule["alert"] == "ClipsearchDiskFilling"]
    (meant,) = set(re.findall(r'persistentvolumeclaim=~"([^"]+)"', rule["expr"]))
    templates = built("cpu+qdrant").one("StatefulSet", "qdrant")["spec"]["volumeClaimTemplates"]
    claims = [f"{template['metadata']['name']}-qdrant-0" for template in templates]
    claims += [f"qdrant-{claim}" for claim in claims]  # the chart's
    kept = build(DEPLOY / "kubernetes" / "keep" / "edge")
    claims += [claim["metadata"]["name"] for claim in kept.kind("PersistentVolumeClaim")]
    assert len(claims) == 5
    assert [claim for claim in claims if not re.fullmatch(meant, claim)] == []


def test_promtool_agrees_with_the_alerts_and_their_unit_tests():
    done = subprocess.run([MONITORING / "promtool.sh"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    if "left out" in done.stdout:
        pytest.skip(done.stdout.strip())
