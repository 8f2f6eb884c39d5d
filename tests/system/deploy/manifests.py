"""Kubernetes manifests as `kubectl kustomize` builds them, and as the tests ask about them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
KUBECTL = Path(sys.executable).with_name("kubectl")
IMAGES = {"encoder-cpu", "encoder-gpu", "search", "gateway", "model", "load"}
REGISTRY = "registry.invalid/clipsearch"
"""Where images are until somebody says where: a host that RFC 2606 lets nobody have."""
COMPONENTS = {
    "cpu": ("qdrant", "keda", "second-encoder", "gateway", "monitoring", "cert-manager"),
    "gpu": ("qdrant", "second-encoder", "queue-wait", "gateway", "monitoring", "cert-manager"),
    "edge": ("second-encoder", "queue-wait", "gateway", "monitoring", "cert-manager"),
    "local": ("gateway", "monitoring", "cert-manager"),
    "load": ("tls",),
}
"""Overlay -> the components that make sense beside it, in the order in which they are added."""
ALTERNATIVES = ("cpu+queue-wait", "gpu+keda", "edge+keda")
"""What stands in place of a component of these."""
OVERLAYS = tuple(COMPONENTS)
EVERYTHING = tuple("+".join((overlay, *components)) for overlay, components in COMPONENTS.items())

Object = dict[str, Any]


@dataclass(frozen=True)
class Pod:
    """A pod's template and the workload that makes pods of it."""

    kind: str
    name: str
    labels: dict[str, str]
    spec: Object
    workload: Object

    def containers(self) -> list[Object]:
        return self.spec["containers"]

    def all_containers(self) -> list[Object]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    def serves(self) -> bool:
        """Others call it for as long as it runs."""
        return self.kind != "Job" and any("ports" in container for container in self.containers())


@dataclass(frozen=True)
class Manifests:
    """All objects of a build."""

    objects: list[Object]

    def kind(self, kind: str) -> list[Object]:
        return [found for found in self.objects if found["kind"] == kind]

    def one(self, kind: str, name: str) -> Object:
        found = [entry for entry in self.kind(kind) if entry["metadata"]["name"] == name]
        assert len(found) == 1, f"{len(found)} objects are {kind} {name}"
        return found[0]

    def pods(self) -> Iterator[Pod]:
        for kind in ("Deployment", "StatefulSet", "Job", "DaemonSet", "CronJob"):
            for workload in self.kind(kind):
                template = workload["spec"]["template"]
                labels = template["metadata"]["labels"]
                yield Pod(kind, workload["metadata"]["name"], labels, template["spec"], workload)

    def pod(self, name: str) -> Pod:
        return next(pod for pod in self.pods() if pod.name == name)

    def container(self, name: str) -> Object:
        return next(entry for pod in self.pods() for entry in pod.containers() if entry["name"] == name)


def environment(container: Object) -> dict[str, str | None]:
    """Its variables; None = from a Secret."""
    return {entry["name"]: entry.get("value") for entry in container.get("env", [])}


def selects(selector: Object, labels: dict[str, str]) -> bool:
    """A label selector of Kubernetes on labels; the operators that we use."""
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for rule in selector.get("matchExpressions", []):
        assert rule["operator"] == "In", rule
        if labels.get(rule["key"]) not in rule["values"]:
            return False
    return True


def build(folder: Path) -> Manifests:
    """What `kubectl kustomize` makes of a folder."""
    done = subprocess.run([KUBECTL, "kustomize", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Manifests(list(yaml.load_all(done.stdout, yaml.CSafeLoader)))


def adapter_metric() -> Object:
    """The rule of Prometheus' adapter, which makes the metric that the autoscaler asks for."""
    document = yaml.safe_load((DEPLOY / "monitoring" / "prometheus-adapter.yaml").read_text())
    (rule,) = document["rules"]["custom"]
    return rule
