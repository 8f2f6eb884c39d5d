"""The two services as the manifests run them: ports, probes, draining, scaling, stores."""

from __future__ import annotations

import shlex

import pytest
import yaml

from clipsearch.gateway.process import GRACE_S
from clipsearch.serving.http_port import LOOP_ANSWERS_S
from encoder_service.settings import EncoderSettings
from search_service.api.collections_servicer import SERVICE_NAME as COLLECTIONS
from search_service.settings import SearchSettings
from tests import documents
from tests.system.deploy.manifests import DEPLOY, adapter_metric, build, environment, selects

PORTS = {"encoder": EncoderSettings().port, "search": SearchSettings().port}
SERVICES = ("encoder", "search")
SYSTEMS = ("cpu", "gpu", "edge", "local")
READY = {"encoder": "/readyz", "search": f"/readyz?service={COLLECTIONS}"}

systems = pytest.mark.parametrize("overlay", SYSTEMS)
services = pytest.mark.parametrize("name", SERVICES)


@systems
@services
def test_ports_are_those_of_the_code(built, overlay, name):
    manifests = built(overlay)
    container = manifests.container(name)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    metrics = int(environment(container)[f"{name.upper()}_METRICS_PORT"])
    assert ports == {"grpc": PORTS[name], "metrics": metrics}
    service = manifests.one("Service", name)["spec"]
    assert {port["targetPort"]: port["port"] for port in service["ports"]} == ports
    assert service["selector"].items() <= manifests.pod(name).labels.items()


@pytest.mark.parametrize(("build", "protocol"), [("edge", "kubernetes.io/h2c"), ("edge+tls", "https")])
def test_a_gateway_is_told_whether_to_speak_tls(built, build, protocol):
    for service in built(build).kind("Service"):
        assert service["spec"]["ports"][0]["appProtocol"] == protocol


def test_a_second_encoder_is_the_one_that_search_asks(built):
    manifests = built("edge+second-encoder")
    asked = environment(manifests.container("search"))["SEARCH_SECOND_ENCODER"]
    service = manifests.one("Service", asked.removeprefix("dns:///").removesuffix(":50051"))["spec"]
    assert service["selector"].items() <= manifests.pod("encoder-next").labels.items()


@systems
@services
def test_probes_ask_for_services_that_health_knows(built, overlay, name):
    container = built(overlay).container(name)
    probes = {probe: container[probe] for probe in ("startupProbe", "readinessProbe", "livenessProbe")}
    asked = {probe: entry["httpGet"] for probe, entry in probes.items()}
    assert {entry["port"] for entry in asked.values()} == {"metrics"}
    assert asked["startupProbe"]["path"] == asked["livenessProbe"]["path"] == "/healthz"
    assert asked["readinessProbe"]["path"] == READY[name]
    # A loop that does not answer is told of, not waited for in vain.
    assert min(entry["timeoutSeconds"] for entry in probes.values()) > LOOP_ANSWERS_S


@services
def test_cert_manager_makes_the_certificates_that_tls_mounts(built, name):
    manifests = built("cpu+cert-manager")
    certificate = manifests.one("Certificate", name)["spec"]
    issuers = {found["metadata"]["name"]: found["spec"] for found in manifests.kind("Issuer")}
    volumes = {volume["name"]: volume for volume in manifests.pod(name).spec["volumes"]}
    assert volumes["tls"]["secret"]["secretName"] == certificate["secretName"]
    assert name in certificate["dnsNames"]
    ca = issuers[certificate["issuerRef"]["name"]]["ca"]["secretName"]
    assert manifests.one("Certificate", "ca")["spec"]["secretName"] == ca


@pytest.mark.parametrize("overlay", ["edge+gateway", "edge+gateway+tls", "edge+gateway+cert-manager"])
def test_the_gateway_understands_its_arguments_and_speaks_tls_where_the_services_do(built, overlay):
    pod = built(overlay).pod("gateway")
    (container,) = pod.containers()
    documents.check(shlex.join(["clipsearch", *container["args"]]))
    secure = overlay != "edge+gateway"
    assert ("--insecure" in container["args"]) is not secure
    assert ("--tls-certificate=/etc/clipsearch/tls/tls.crt" in container["args"]) is secure
    assert ("CLIPSEARCH_TLS_CA" in environment(container)) is secure
    assert container["readinessProbe"]["httpGet"].get("scheme") == ("HTTPS" if secure else None)
    delay = next(one.partition("=")[2] for one in container["args"] if one.startswith("--drain-delay-s="))
    sleep = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod.spec["terminationGracePeriodSeconds"] >= sleep + float(delay) + GRACE_S + 5


@systems
@services
def test_a_pod_has_time_to_drain(built, overlay, name):
    pod = built(overlay).pod(name)
    container, variables = pod.containers()[0], environment(pod.containers()[0])
    sleep = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    delay, grace = (int(variables[f"{name.upper()}_DRAIN_{part}_S"]) for part in ("DELAY", "GRACE"))
    assert pod.spec["terminationGracePeriodSeconds"] >= sleep + delay + grace + 5
    # Readiness is lost before new calls are refused.
    assert delay >= 5


@systems
def test_scalers_and_budgets_have_targets(built, overlay):
    manifests = built(overlay)
    for scaler in manifests.kind("HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        workload = manifests.one(target["kind"], target["name"])
        assert workload["apiVersion"] == target["apiVersion"]
        assert "replicas" not in workload["spec"], "an apply would undo what the scaler did"
    for budget in manifests.kind("PodDisruptionBudget"):
        assert any(selects(budget["spec"]["selector"], pod.labels) for pod in manifests.pods())


def test_queue_wait_scales_by_the_metric_that_the_adapter_makes(built):
    metrics = built("cpu+queue-wait").one("HorizontalPodAutoscaler", "encoder")["spec"]["metrics"]
    assert [metric["type"] for metric in metrics] == ["Resource", "Pods"]
    assert metrics[1]["pods"]["metric"]["name"] == adapter_metric()["name"]["as"]


def test_keda_scales_as_queue_wait_does_and_alone(built):
    own, keda = built("cpu+queue-wait").one("HorizontalPodAutoscaler", "encoder")["spec"], built("cpu+keda")
    assert [one["metadata"]["name"] for one in keda.kind("HorizontalPodAutoscaler")] == ["search"]
    scaled = keda.one("ScaledObject", "encoder")["spec"]
    assert (scaled["minReplicaCount"], scaled["maxReplicaCount"]) == (own["minReplicas"], own["maxReplicas"])
    assert scaled["advanced"]["horizontalPodAutoscalerConfig"]["behavior"] == own["behavior"]
    by_cpu, by_wait = scaled["triggers"]
    cpu, wait = own["metrics"]
    assert int(by_cpu["metadata"]["value"]) == cpu["resource"]["target"]["averageUtilization"]
    assert 1000 * float(by_wait["metadata"]["threshold"]) == int(wait["pods"]["target"]["averageValue"][:-1])
    asked = adapter_metric()["metricsQuery"].replace(" by (<<.GroupBy>>)", "")
    of_encoders = 'namespace="clipsearch",job="encoder"'
    assert by_wait["metadata"]["query"] == asked.replace("<<.LabelMatchers>>", of_encoders)


def test_the_bundle_comes_from_the_init_container(built):
    pod = built("cpu").pod("encoder")
    (mount,) = pod.spec["initContainers"][0]["volumeMounts"]
    assert mount["mountPath"] == environment(pod.containers()[0])["ENCODER_MODEL"]


def test_the_charts_values_say_what_the_component_says(built):
    values = yaml.safe_load((DEPLOY / "qdrant-values.yaml").read_text())
    pod = built("cpu+qdrant").pod("qdrant")
    (container,) = pod.containers()
    version = values["image"]["tag"]
    assert container["image"] == f"docker.io/qdrant/qdrant:{version}-unprivileged"
    assert f"${{QDRANT_VERSION:-{version}}}" in (DEPLOY / "compose.yaml").read_text()
    assert [entry for entry in values["env"] if entry not in container["env"]] == []
    ours = pod.workload["spec"] | pod.spec | container | {"replicaCount": pod.workload["spec"]["replicas"]}
    for name in ("replicaCount", "resources", "affinity", "terminationGracePeriodSeconds"):
        assert values[name] == ours[name]
    context = values["podSecurityContext"] | values["containerSecurityContext"]
    assert context == pod.spec["securityContext"] | container["securityContext"]


@pytest.mark.parametrize("overlay", ["edge", "local"])
def test_edge_runs_once_on_its_own_volume(built, overlay):
    manifests = built(overlay)
    pod = manifests.pod("search")
    (claim,) = build(DEPLOY / "kubernetes" / "keep" / overlay).kind("PersistentVolumeClaim")
    mounts = {mount["name"]: mount["mountPath"] for mount in pod.containers()[0]["volumeMounts"]}
    claims = {entry["name"]: entry.get("persistentVolumeClaim") for entry in pod.spec["volumes"]}
    assert claims["data"] == {"claimName": claim["metadata"]["name"]}
    assert mounts["data"] == environment(pod.containers()[0])["SEARCH_DATA_DIR"]
    assert pod.workload["spec"]["replicas"] == 1
    assert pod.workload["spec"]["strategy"] == {"type": "Recreate"}
    for kind in ("HorizontalPodAutoscaler", "PodDisruptionBudget"):
        assert "search" not in {found["metadata"]["name"] for found in manifests.kind(kind)}
