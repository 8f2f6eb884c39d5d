"""What holds for every pod, whatever the overlay: rights, limits, probes, settings, secrets, images."""

from __future__ import annotations

import re
import tomllib

import pytest

from clipsearch.serving.settings import load_settings
from encoder_service.settings import EncoderSettings
from search_service.settings import SearchSettings
from tests.system.deploy.manifests import EVERYTHING, IMAGES, REGISTRY, ROOT, environment

pytestmark = pytest.mark.parametrize("overlay", EVERYTHING)


def test_no_pod_is_privileged_or_without_bounds(built, overlay):
    for pod in built(overlay).pods():
        context = pod.spec["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] > 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.spec.keys()
        assert not any("hostPath" in volume for volume in pod.spec.get("volumes", []))
        for container in pod.all_containers():
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, f"{pod.name}: {container['name']}"
            for which in ("requests", "limits"):
                assert {"cpu", "memory"} <= container["resources"][which].keys(), f"{pod.name}: {which}"


def test_no_pod_gets_a_token_of_the_cluster_or_variables_of_services(built, overlay):
    manifests = built(overlay)
    for pod in manifests.pods():
        account = manifests.one("ServiceAccount", pod.spec["serviceAccountName"])
        assert account["automountServiceAccountToken"] is False
        assert pod.spec["automountServiceAccountToken"] is False
        # SEARCH_PORT=tcp://... of a Service's link would be taken for a setting, and refused.
        assert pod.spec["enableServiceLinks"] is False


def test_every_container_that_serves_has_its_probes(built, overlay):
    for pod in built(overlay).pods():
        # A node of Qdrant that loads its collections must not be killed for it.
        wanted = ["readinessProbe", *([] if pod.name == "qdrant" else ["startupProbe", "livenessProbe"])]
        if pod.serves():
            for container in pod.containers():
                found = [probe for probe in container if probe.endswith("Probe")]
                assert sorted(found) == sorted(wanted), pod.name


def test_replicas_are_spread(built, overlay):
    for pod in built(overlay).pods():
        if pod.kind in ("Deployment", "StatefulSet"):
            apart = pod.spec.get("affinity", {}).get("podAntiAffinity", {})
            required = apart.get("requiredDuringSchedulingIgnoredDuringExecution", [])
            assert bool(required) == (pod.name == "qdrant")
            entries = [*pod.spec["topologySpreadConstraints"], *required]
            assert "kubernetes.io/hostname" in {entry["topologyKey"] for entry in entries}
            for entry in entries:
                assert entry["labelSelector"]["matchLabels"].items() <= pod.labels.items()


def test_a_rollout_leaves_somebody_who_serves(built, overlay):
    manifests = built(overlay)
    scalers = {
        scaler["spec"]["scaleTargetRef"]["name"]: scaler["spec"]
        for scaler in manifests.kind("HorizontalPodAutoscaler")
    }
    for scaler in manifests.kind("ScaledObject"):
        scalers[scaler["spec"]["scaleTargetRef"]["name"]] = {"minReplicas": scaler["spec"]["minReplicaCount"]}
    for pod in manifests.pods():
        rolling = pod.workload["spec"].get("strategy", {}).get("rollingUpdate")
        if pod.serves() and rolling:  # with Edge and on one machine the old one goes first
            least = scalers.get(pod.name, {}).get("minReplicas") or pod.workload["spec"]["replicas"]
            assert least > rolling["maxUnavailable"], pod.name


def test_the_settings_exist_and_are_valid_together(built, overlay, monkeypatch):
    for name, settings in (("encoder", EncoderSettings), ("search", SearchSettings)):
        pods = [pod for pod in built(overlay).pods() if pod.containers()[0]["name"] == name]
        for pod in pods:
            with monkeypatch.context() as patch:
                for variable, value in environment(pod.containers()[0]).items():
                    patch.setenv(variable, "secret" if value is None else value)
                load_settings(settings)


def test_every_volume_that_is_mounted_exists(built, overlay):
    for pod in built(overlay).pods():
        templates = pod.workload["spec"].get("volumeClaimTemplates", [])
        volumes = {volume["name"] for volume in pod.spec.get("volumes", [])}
        volumes |= {template["metadata"]["name"] for template in templates}
        mounted = {mount["name"] for entry in pod.all_containers() for mount in entry["volumeMounts"]}
        assert mounted == volumes, pod.name


def test_images_are_pinned_and_come_from_nowhere_until_that_is_said(built, overlay):
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for pod in built(overlay).pods():
        for container in pod.all_containers():
            if container["image"] == f"{REGISTRY}/model-next":
                continue  # without a tag, so that it is not pulled before the operator has named one
            repository, _, tag = container["image"].rpartition(":")
            if repository == "docker.io/qdrant/qdrant":
                assert re.fullmatch(r"v\d+\.\d+\.\d+-unprivileged", tag)
                continue
            assert repository.removeprefix(f"{REGISTRY}/") in IMAGES
            if repository == f"{REGISTRY}/model":  # of the provider that the encoders are told
                assert tag == ("clip-vit-base-patch32-cuda" if overlay.startswith("gpu") else "starter")
            else:
                assert tag == version
