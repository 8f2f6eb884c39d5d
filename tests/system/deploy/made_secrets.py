"""What deploy/kubernetes/secrets.sh makes."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.system.deploy.manifests import DEPLOY

BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class MadeSecrets:
    """The Secrets as manifests, their content by name and key, and what the operator was told."""

    manifests: list[dict[str, Any]]
    content: dict[str, dict[str, str]]
    told: str

    @property
    def token(self) -> str:
        """The callers'."""
        (token,) = re.findall(r"cs_\S+", self.told)
        return token


def make_secrets() -> MadeSecrets:
    """Runs the script."""
    variables = {**os.environ, "KUBECTL": f"{BIN}/kubectl", "CLIPSEARCH": f"{BIN}/clipsearch"}
    script = DEPLOY / "kubernetes" / "secrets.sh"
    done = subprocess.run([script], env=variables, capture_output=True, text=True, check=True)
    manifests = list(yaml.safe_load_all(done.stdout))
    content = {
        secret["metadata"]["name"]: {
            key: base64.b64decode(value).decode() for key, value in secret["data"].items()
        }
        for secret in manifests
    }
    return MadeSecrets(manifests, content, done.stderr)
