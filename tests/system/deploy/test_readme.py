"""deploy/README.md names what exists: files, overlays, components, targets; its overlay builds.

Its commands are checked in tests/system/services/test_docs.py, its links in tests/unit/test_docs.py.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from functools import cache

import yaml

from tests import documents
from tests.system.deploy.manifests import DEPLOY, KUBECTL, OVERLAYS, REGISTRY, ROOT, build

TEXT = (DEPLOY / "README.md").read_text()
CODE = re.findall(r"```\w*\n(.*?)```|`([^`\n]+)`", TEXT, re.DOTALL)
SNIPPETS = [block or inline for block, inline in CODE]


def test_files_exist():
    named = {path for snippet in SNIPPETS for path in re.findall(r"(?<![\w./-])deploy/[\w./-]+", snippet)}
    named |= {f"deploy/{path}" for path in re.findall(r"`(monitoring/[\w.-]+)`", TEXT)}
    assert len(named) > 5
    for path in named:
        assert (ROOT / path).exists(), path


def test_overlays_and_components_are_those_that_exist():
    rows = re.findall(r"^\| `([\w-]+)` \|", TEXT, re.MULTILINE)
    components = {path.name for path in (DEPLOY / "kubernetes/components").iterdir()}
    assert {path.name for path in (DEPLOY / "kubernetes/overlays").iterdir()} == set(OVERLAYS)
    assert {*OVERLAYS, *components} <= set(rows)


def test_kubectl_knows_its_commands_and_options():
    calls = {
        call.strip()
        for command in [*documents.all_commands(TEXT), *documents.inline(TEXT, "kubectl")]
        for call in re.findall(r"\bkubectl ([^|&#\n]+)", command)
    }
    assert len(calls) > 8
    for call in calls:
        words = shlex.split(call.replace("-n clipsearch ", "").partition(" ... ")[0])
        verb = [word for word in words if re.fullmatch(r"[a-z-]+", word) and word[0] != "-"][:3]
        help = kubectl_help(verb[0], *verb[1:])
        assert f"kubectl {verb[0]}" in help, call
        for option in (word.partition("=")[0] for word in words if word.startswith("--")):
            assert re.search(rf"{option}\b", help), call


@cache
def kubectl_help(*words: str) -> str:
    return subprocess.run([KUBECTL, *words, "--help"], capture_output=True, text=True, check=True).stdout


def test_bake_knows_its_targets():
    bake = json.loads((DEPLOY / "docker" / "docker-bake.json").read_text())
    calls = [re.split(r"release\.sh|docker-bake\.json", call) for call in documents.all_commands(TEXT)]
    targets = [set(call[1].split()) for call in calls if len(call) == 2]
    assert set() in targets
    assert set().union(*targets) <= {*bake["target"], *bake["group"]}


def test_the_overlay_that_it_shows_builds(tmp_path):
    block, more = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    block = block.replace("namespace: clipsearch", "namespace: photos") + more
    for part in ("kubernetes", "monitoring"):
        shutil.copytree(DEPLOY / part, tmp_path / "deploy" / part)
    own = tmp_path / "my-overlay"
    own.mkdir()
    (own / "kustomization.yaml").write_text(block)
    manifests = build(own)
    replaced = [image["newName"] for image in yaml.safe_load(block)["images"]]
    used = {
        container["image"].rpartition(":")[0]
        for pod in manifests.pods()
        for container in pod.all_containers()
    }
    assert set(replaced) <= used
    assert not [image for image in used if image.startswith(REGISTRY)]
    # Nothing stays behind in the old namespace, and the certificate is for the names that callers use.
    assert {found["metadata"]["namespace"] for found in manifests.objects} == {"photos"}
    for name in ("search", "gateway"):
        names = manifests.one("Certificate", name)["spec"]["dnsNames"]
        assert names == [name, f"{name}.photos", f"{name}.photos.svc", f"{name}.photos.svc.cluster.example"]
    assert all("imagePullSecrets" in account for account in manifests.kind("ServiceAccount"))
    assert not any("runAsUser" in pod.spec["securityContext"] for pod in manifests.pods())
