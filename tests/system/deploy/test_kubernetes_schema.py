"""Every overlay builds and is valid for the versions of Kubernetes that it says it runs on."""

from __future__ import annotations

from itertools import chain

import kubernetes_validate
import pytest
import yaml

from tests.system.deploy.manifests import DEPLOY, OVERLAYS

# preStop's `sleep` came with 1.30.
VERSIONS = ("1.30", "1.37")
# Custom resources have no schema in Kubernetes; other tests hold them to what their operators document.
CUSTOM = ("monitoring.coreos.com/", "cert-manager.io/")
OPTIONAL = [("cpu", "tls"), ("cpu", "cert-manager"), ("cpu", "queue-wait"), ("edge", "tls"), ("gpu", "tls")]


def check(manifests, version):
    ours = [found for found in manifests.objects if not found["apiVersion"].startswith(CUSTOM)]
    assert ours
    for found in ours:
        kubernetes_validate.validate(found, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_is_valid(built, overlay, version):
    check(built(overlay), version)


@pytest.mark.parametrize(("overlay", "component"), OPTIONAL)
def test_an_overlay_with_an_optional_component_is_valid(built_with, overlay, component):
    check(built_with(overlay, component), VERSIONS[-1])


def test_every_file_is_part_of_a_build():
    used = set()
    for path in [*DEPLOY.glob("kubernetes/**/kustomization.yaml"), DEPLOY / "monitoring/kustomization.yaml"]:
        content = yaml.safe_load(path.read_text())
        patches = [patch["path"] for patch in content.get("patches", [])]
        generated = chain.from_iterable(entry["files"] for entry in content.get("configMapGenerator", []))
        named = [*content.get("resources", []), *content.get("components", []), *patches, *generated]
        for name in named:
            assert (path.parent / name).exists(), f"{path} names {name}"
            used.add((path.parent / name).resolve())
        used.add(path)
    unused = {path for path in DEPLOY.glob("kubernetes/**/*.yaml") if path not in used}
    assert not unused
