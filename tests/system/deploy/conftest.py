"""The manifests as `kubectl kustomize` builds them."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest
import yaml

from tests.system.deploy.manifests import DEPLOY, Manifests, build


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Manifests]:
    """An overlay's manifests, as `cpu` or, with components that an operator adds, `cpu+tls`; built once."""
    tree = tmp_path_factory.mktemp("deploy")
    for part in ("kubernetes", "monitoring"):
        shutil.copytree(DEPLOY / part, tree / part)
    made: dict[str, Manifests] = {}

    def of(name: str) -> Manifests:
        if name not in made:
            overlay, *components = name.split("+")
            own = tree / "kubernetes" / "overlays" / f"own-{name}"
            own.mkdir()
            kustomization = {
                "apiVersion": "kustomize.config.k8s.io/v1beta1",
                "kind": "Kustomization",
                "namespace": "clipsearch",
                "resources": [f"../{overlay}"],
                "components": [f"../../components/{component}" for component in components],
            }
            (own / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
            made[name] = build(own)
        return made[name]

    return of
