"""The two services as the manifests run them: ports, probes, draining, scaling, stores."""

from __future__ import annotations

import pytest

from clipsearch.serving.health import LIVENESS
from encoder_service.settings import EncoderSettings
from search_service.api.collections_servicer import SERVICE_NAME as COLLECTIONS
from search_service.settings import SearchSettings
from tests.system.deploy.manifests import adapter_metric, environment, selects

PORTS = {"encoder": EncoderSettings().port, "search": SearchSettings().port}
SERVICES = ("encoder", "search")
SYSTEMS = ("cpu", "gpu", "edge")
READY = {"encoder": "", "search": COLLECTIONS}

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


@systems
@services
def test_probes_ask_for_services_that_health_knows(built, overlay, name):
    container = built(overlay).container(name)
    asked = {probe: container[probe]["grpc"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert {entry["port"] for entry in asked.values()} == {PORTS[name]}
    assert asked["startupProbe"]["service"] == asked["livenessProbe"]["service"] == LIVENESS
    assert asked["readinessProbe"].get("service", "") == READY[name]


@services
def test_cert_manager_makes_the_certificates_that_tls_mounts(built_with, name):
    manifests = built_with("cpu", "cert-manager")
    certificate = manifests.one("Certificate", name)["spec"]
    issuers = {found["metadata"]["name"]: found["spec"] for found in manifests.kind("Issuer")}
    volumes = {volume["name"]: volume for volume in manifests.pod(name).spec["volumes"]}
    assert volumes["tls"]["secret"]["secretName"] == certificate["secretName"]
    assert name in certificate["dnsNames"]
    ca = issuers[certificate["issuerRef"]["name"]]["ca"]["secretName"]
    assert manifests.one("Certificate", "ca")["spec"]["secretName"] == ca


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


def test_queue_wait_scales_by_the_metric_that_the_adapter_makes(built_with):
    metrics = built_with("cpu", "queue-wait").one("HorizontalPodAutoscaler", "encoder")["spec"]["metrics"]
    assert [metric["type"] for metric in metrics] == ["Resource", "Pods"]
    assert metrics[1]["pods"]["metric"]["name"] == adapter_metric()["name"]["as"]


def test_the_bundle_comes_from_the_init_container(built):
    for overlay in SYSTEMS:
        pod = built(overlay).pod("encoder")
        (init,) = pod.spec["initContainers"]
        target = next(mount["mountPath"] for mount in init["volumeMounts"])
        assert target == environment(pod.containers()[0])["ENCODER_MODEL"] == "/models"


@pytest.mark.parametrize("overlay", ["cpu", "gpu"])
def test_a_qdrant_cluster_that_finds_itself(built, overlay):
    manifests = built(overlay)
    qdrant = manifests.one("StatefulSet", "qdrant")
    container = manifests.container("qdrant")
    variables = environment(container)
    peers = manifests.one("Service", qdrant["spec"]["serviceName"])["spec"]
    assert peers["publishNotReadyAddresses"] is True, "a node has to find the first one before it is ready"
    assert "--bootstrap http://qdrant-0.qdrant-peers:6335" in container["args"][0]
    assert peers["ports"][0]["port"] == int(variables["QDRANT__CLUSTER__P2P__PORT"]) == 6335
    assert int(variables["QDRANT__STORAGE__COLLECTION__REPLICATION_FACTOR"]) >= 2


def test_edge_runs_once_on_its_own_volume(built):
    manifests = built("edge")
    pod = manifests.pod("search")
    data = environment(pod.containers()[0])["SEARCH_DATA_DIR"]
    mounts = {mount["mountPath"]: mount["name"] for mount in pod.containers()[0]["volumeMounts"]}
    claims = {
        volume["name"]: volume["persistentVolumeClaim"]["claimName"]
        for volume in pod.spec["volumes"]
        if "persistentVolumeClaim" in volume
    }
    claim = manifests.one("PersistentVolumeClaim", claims[mounts[data]])
    assert pod.workload["spec"]["replicas"] == 1
    assert pod.workload["spec"]["strategy"] == {"type": "Recreate"}
    assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]
    for kind in ("HorizontalPodAutoscaler", "PodDisruptionBudget"):
        assert "search" not in {found["metadata"]["name"] for found in manifests.kind(kind)}
    assert not manifests.kind("StatefulSet")
