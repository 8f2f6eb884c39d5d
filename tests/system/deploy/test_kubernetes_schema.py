"""Every overlay, alone and with components, builds and is valid on old and new Kubernetes."""

from __future__ import annotations

import json
from functools import cache

import kubernetes_validate
import pytest

from tests.system.deploy.manifests import ALTERNATIVES, COMPONENTS, DEPLOY, EVERYTHING, OVERLAYS

# preStop's `sleep` came with 1.30.
OLDEST, NEWEST = "1.30", "1.37"
# Custom resources have no schema in Kubernetes; other tests hold them to what their operators document.
CUSTOM = {"monitoring": "monitoring.coreos.com/", "cert-manager": "cert-manager.io/", "keda": "keda.sh/"}
SINGLE = [f"{overlay}+{name}" for overlay, names in COMPONENTS.items() for name in names]
BUILDS = [(name, NEWEST) for name in sorted({*OVERLAYS, *SINGLE, *ALTERNATIVES, *EVERYTHING})]


@pytest.mark.parametrize(("name", "version"), [*BUILDS, *((overlay, OLDEST) for overlay in OVERLAYS)])
def test_it_is_valid_needs_no_operator_that_it_does_not_name_and_holds_no_data(built, name, version):
    needed = tuple(CUSTOM[component] for component in name.split("+") if component in CUSTOM)
    manifests = built(name)
    for found in manifests.objects:
        assert found["metadata"]["namespace"] == "clipsearch"
        # To delete it leaves the namespace, the Secrets and the data.
        assert found["kind"] not in {"Namespace", "Secret", "PersistentVolumeClaim"}
        if not found["apiVersion"].startswith(needed):
            validate(json.dumps(found, sort_keys=True), version)
    for found in manifests.kind("StatefulSet"):
        assert set(found["spec"]["persistentVolumeClaimRetentionPolicy"].values()) == {"Retain"}


@cache
def validate(manifest: str, version: str) -> None:
    """Once: most objects are the same in most builds, and each time all schemas are read anew."""
    kubernetes_validate.validate(json.loads(manifest), version, strict=True)


def test_every_file_is_part_of_a_build():
    for path in DEPLOY.glob("kubernetes/**/*.yaml"):
        assert path.name in {"kustomization.yaml", *(path.parent / "kustomization.yaml").read_text().split()}
