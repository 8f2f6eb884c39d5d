"""secrets.sh makes what the manifests refer to, and the services take it."""

from __future__ import annotations

import re
from pathlib import Path

import kubernetes_validate
import pytest

from clipsearch.serving.security.tokens import Scope, read_grants, sha256
from tests.system.deploy.made_secrets import make_secrets
from tests.system.deploy.manifests import DEPLOY, OVERLAYS


@pytest.fixture(scope="module")
def made():
    return make_secrets()


def test_they_are_valid_and_in_the_namespace(made):
    for secret in made.manifests:
        kubernetes_validate.validate(secret, "1.37", strict=True)
        assert secret["metadata"]["namespace"] == "clipsearch"


def test_they_are_all_that_the_manifests_refer_to(made, built):
    wanted: dict[str, set[str]] = {}
    for pod in [pod for name in (*OVERLAYS, "cpu+qdrant") for pod in built(name).pods()]:
        for container in pod.containers():
            for variable in container["env"]:
                if "valueFrom" in variable:
                    source = variable["valueFrom"]["secretKeyRef"]
                    wanted.setdefault(source["name"], set()).add(source["key"])
            mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
            for volume in pod.spec["volumes"]:
                if "secret" in volume:
                    values = [entry.get("value") or "" for entry in container["env"]]
                    files = [Path(value).name for value in values if value.startswith(mounts[volume["name"]])]
                    wanted.setdefault(volume["secret"]["secretName"], set()).update(files)
    assert wanted.pop("load-token") == {"token"}  # the operator's part
    assert "create secret generic load-token --from-literal=token=" in (DEPLOY / "README.md").read_text()
    assert {name: set(keys) for name, keys in made.content.items()} == wanted


def test_search_may_encode_and_nothing_else(made, tmp_path):
    (tmp_path / "tokens").write_text(made.content["encoder-tokens"]["tokens"])
    (grant,) = read_grants(tmp_path / "tokens")
    assert grant.scopes == {Scope.ENCODE}
    assert grant.sha256 == sha256(made.content["search-encoder-token"]["token"])


def test_the_callers_token_is_told_once_and_kept_as_a_hash(made, tmp_path):
    (tmp_path / "tokens").write_text(made.content["search-tokens"]["tokens"])
    (grant,) = read_grants(tmp_path / "tokens")
    assert grant.sha256 == sha256(made.token)
    assert grant.scopes == {Scope.SEARCH, Scope.WRITE, Scope.ADMIN}
    assert made.content["search-encoder-token"]["token"] not in made.told


def test_keys_of_qdrant_are_long_and_differ(made):
    keys = made.content["qdrant-api-keys"]
    assert len({*keys.values()}) == 2
    assert all(re.fullmatch(r"[0-9a-f]{64}", key) for key in keys.values())
