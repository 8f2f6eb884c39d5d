"""secrets.sh makes what the manifests refer to, and the services take it."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from clipsearch.serving.tokens import Scope, read_grants, sha256
from tests.deploy.manifests import DEPLOY

BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def made():
    """The script's Secrets by name, each key's bytes, and what it told the operator."""
    environment = {**os.environ, "KUBECTL": f"{BIN}/kubectl", "CLIPSEARCH": f"{BIN}/clipsearch"}
    script = DEPLOY / "kubernetes" / "secrets.sh"
    done = subprocess.run([script], env=environment, capture_output=True, text=True, check=True)
    secrets = list(yaml.safe_load_all(done.stdout))
    for secret in secrets:
        kubernetes_validate.validate(secret, "1.37", strict=True)
        assert secret["metadata"]["namespace"] == "clipsearch"
    return {
        secret["metadata"]["name"]: {key: base64.b64decode(value) for key, value in secret["data"].items()}
        for secret in secrets
    }, done.stderr


def test_they_are_all_that_the_manifests_refer_to(made, built):
    secrets, _ = made
    wanted: dict[str, set[str]] = {}
    for pod in built("cpu").pods():
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
    assert {name: set(keys) for name, keys in secrets.items()} == wanted


def test_search_may_encode_and_nothing_else(made, tmp_path):
    secrets, _ = made
    (tmp_path / "tokens").write_bytes(secrets["encoder-tokens"]["tokens"])
    (grant,) = read_grants(tmp_path / "tokens")
    assert grant.scopes == {Scope.ENCODE}
    assert grant.sha256 == sha256(secrets["search-encoder-token"]["token"].decode())


def test_the_callers_token_is_told_once_and_kept_as_a_hash(made, tmp_path):
    secrets, told = made
    (tmp_path / "tokens").write_bytes(secrets["search-tokens"]["tokens"])
    (grant,) = read_grants(tmp_path / "tokens")
    (token,) = re.findall(r"cs_\S+", told)
    assert grant.sha256 == sha256(token)
    assert grant.scopes == {Scope.SEARCH, Scope.WRITE, Scope.ADMIN}
    assert secrets["search-encoder-token"]["token"].decode() not in told


def test_keys_of_qdrant_are_long_and_differ(made):
    secrets, _ = made
    keys = secrets["qdrant-api-keys"]
    assert len({*keys.values()}) == 2
    assert all(re.fullmatch(rb"[0-9a-f]{64}", key) for key in keys.values())
