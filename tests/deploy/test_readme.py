"""deploy/README.md names what exists: files, overlays, components, commands, settings; its overlay builds."""

from __future__ import annotations

import re
import shutil

import typer
import yaml

from clipsearch.cli import app
from clipsearch.serving.settings import environment_names
from encoder_service.settings import EncoderSettings
from search_service.settings import SearchSettings
from tests.deploy.conftest import build
from tests.deploy.manifests import DEPLOY, OVERLAYS, ROOT

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
    components = {path.name for path in (DEPLOY / "kubernetes/components").iterdir()} - {"qdrant"}
    assert {path.name for path in (DEPLOY / "kubernetes/overlays").iterdir()} == set(OVERLAYS)
    assert {*OVERLAYS, *components} <= set(rows)


def test_settings_exist():
    known = {*environment_names(EncoderSettings).values(), *environment_names(SearchSettings).values()}
    named = {
        name for snippet in SNIPPETS for name in re.findall(r"\b(?:ENCODER|SEARCH)_[A-Z_]+[A-Z]", snippet)
    }
    assert named
    reasons = {"ENCODER_UNAVAILABLE", "STORE_UNAVAILABLE"}
    assert named - reasons <= known


def test_commands_exist():
    group = typer.main.get_command(app)
    named = {
        word for snippet in SNIPPETS for word in re.findall(r"^clipsearch ([a-z]+)", snippet, re.MULTILINE)
    }
    assert {"health", "token", "serve", "collections"} <= named <= set(group.commands)


def test_links_inside_lead_somewhere():
    headings = {
        re.sub(r"[^\w -]", "", line).strip().lower().replace(" ", "-")
        for line in re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
    }
    for anchor in re.findall(r"\]\(#([\w-]+)\)", TEXT):
        assert anchor in headings


def test_the_overlay_that_it_shows_builds(tmp_path):
    (block,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
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
    assert not [image for image in used if image.startswith("clipsearch/")]
    assert manifests.one("Certificate", "search")
