"""The manifests as `kubectl kustomize` builds them, and the services that the dashboards ask about."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest
import yaml

from tests.system.deploy.manifests import DEPLOY, Manifests, build


@pytest.fixture(scope="session")
def built() -> Callable[[str], Manifests]:
    """An overlay's manifests, by its name; built once."""
    made: dict[str, Manifests] = {}

    def of(overlay: str) -> Manifests:
        if overlay not in made:
            made[overlay] = build(DEPLOY / "kubernetes" / "overlays" / overlay)
        return made[overlay]

    return of


@pytest.fixture(scope="session")
def built_with(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Manifests]:
    """An overlay with further components, as an operator adds them."""
    made: dict[tuple[str, ...], Manifests] = {}

    def of(overlay: str, *components: str) -> Manifests:
        key = (overlay, *components)
        if key not in made:
            tree = tmp_path_factory.mktemp("deploy")
            for part in ("kubernetes", "monitoring"):
                shutil.copytree(DEPLOY / part, tree / part)
            own = tree / "kubernetes" / "overlays" / "own"
            own.mkdir()
            kustomization = {
                "apiVersion": "kustomize.config.k8s.io/v1beta1",
                "kind": "Kustomization",
                "resources": [f"../{overlay}"],
                "components": [f"../../components/{name}" for name in components],
            }
            (own / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
            made[key] = build(own)
        return made[key]

    return of
