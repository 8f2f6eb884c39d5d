"""Checkov finds nothing in the manifests and the Dockerfile but what deploy/checkov.yaml accepts."""

from __future__ import annotations

import os
import subprocess

import pytest
import yaml

from tests.system.deploy.manifests import DEPLOY, EVERYTHING


@pytest.mark.skipif("CHECKOV" not in os.environ, reason="`make deploy-check` installs Checkov")
def test_checkov_finds_only_what_is_accepted(built, tmp_path):
    for name in EVERYTHING:
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump_all(built(name).objects))
    command = [os.environ["CHECKOV"], "--config-file", DEPLOY / "checkov.yaml", "--directory"]
    for folder in (tmp_path, DEPLOY / "docker"):
        done = subprocess.run([*command, folder], capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stdout
        assert "Failed checks: 0" in done.stdout
